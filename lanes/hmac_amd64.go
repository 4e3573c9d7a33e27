//go:build !purego

package lanes

import (
	"encoding/binary"
	"unsafe"
)

// kernels are the functions for a hash, and when each is the fastest.
type kernels struct {
	lanes int  // how many messages the function of lanes takes; 0: none
	pairs bool // there is a function with the SHA instructions, for one message and for two
	// pays is how many blocks the other way, in pairs or by the standard library, hashes in the time of one step of the
	// lanes, however many of them are used.
	pays int
}

func (k kernels) any() bool { return k.lanes > 0 || k.pairs }

func kernelsOf(h Hash) kernels {
	if detected == plain {
		return kernels{}
	}
	t := measured[detected][h]
	k := kernels{lanes: t.lanes, pays: t.pays}
	if hasSHA && (h == SHA1 || h == SHA256) {
		k.pairs, k.pays = true, t.paysPairs
	}
	return k
}

// measured says what was found on the processors of README.md.
var measured = [...][SHA512 + 1]struct{ lanes, pays, paysPairs int }{
	avx512: {
		MD5:    {lanes: 16, pays: 2},
		SHA1:   {lanes: 16, pays: 4, paysPairs: 6},
		SHA256: {lanes: 16, pays: 8, paysPairs: 14},
		SHA384: {lanes: 8, pays: 3},
		SHA512: {lanes: 8, pays: 3},
	},
	avx2: {
		MD5:    {lanes: 8, pays: 2},
		SHA1:   {lanes: 8, pays: 3, paysPairs: 9},
		SHA256: {lanes: 8, pays: 3, paysPairs: 9},
		SHA384: {lanes: 4, pays: 2},
		SHA512: {lanes: 4, pays: 2},
	},
}

// step hashes blocks of the lanes that have a bit.
func step(h Hash, lanes int, state *[64]uint64, data *[Max]*byte, off, blocks int, bits uint64) {
	switch {
	case h == MD5 && lanes == 16:
		md5x16(state, data, off, blocks, bits)
	case h == MD5:
		md5x8(state, data, off, blocks, bits)
	case h == SHA1 && lanes == 16:
		sha1x16(state, data, off, blocks, bits)
	case h == SHA1:
		sha1x8(state, data, off, blocks, bits)
	case h == SHA256 && lanes == 16:
		sha256x16(state, data, off, blocks, bits)
	case h == SHA256:
		sha256x8(state, data, off, blocks, bits)
	case lanes == 8:
		sha512x8(state, data, off, blocks, bits)
	default:
		sha512x4(state, data, off, blocks, bits)
	}
}

// compress is the state after one block.
func compress(h Hash, s [8]uint64, block *[128]byte) [8]uint64 {
	k := kernelsOf(h)
	if k.lanes == 0 {
		k.lanes = measured[detected][h].lanes
	}
	var sc Scratch
	var data [Max]*byte
	for i := range data {
		data[i] = &block[0]
	}
	sc.set(h, k.lanes, &s)
	step(h, k.lanes, &sc.state, &data, 0, 1, 1)
	for w := range functions[h].words {
		s[w] = sc.word(h, w*k.lanes)
	}
	return s
}

func (s *Scratch) words32() *[128]uint32 { return (*[128]uint32)(unsafe.Pointer(&s.state)) }

// word is word i of the state.
func (s *Scratch) word(h Hash, i int) uint64 {
	if functions[h].block == 128 {
		return s.state[i]
	}
	return uint64(s.words32()[i])
}

// set gives every lane one state.
func (s *Scratch) set(h Hash, lanes int, to *[8]uint64) {
	f := &functions[h]
	for w := range f.words {
		if f.block == 128 {
			for i := range lanes {
				s.state[w*lanes+i] = to[w]
			}
			continue
		}
		row := s.words32()[w*lanes:][:lanes]
		for i := range row {
			row[i] = uint32(to[w])
		}
	}
}

// A message is one that Sum was given, by its index, and how many blocks it has with its padding.
type message struct{ index, blocks int }

func (m *HMAC) sum(s *Scratch, messages [][]byte, tails []uint32) {
	f := &functions[m.hash]
	extra := 1 + f.block/8 // of padding: a byte and the length
	if tails != nil {
		extra += 4
	}
	// The longest come first. Mostly they are so already: one length, the last one shorter.
	var order [Max]message
	for i, b := range messages {
		x := message{i, (len(b) + extra + f.block - 1) / f.block}
		j := i
		for ; j > 0 && order[j-1].blocks < x.blocks; j-- {
			order[j] = order[j-1]
		}
		order[j] = x
	}
	rest := order[:len(messages)]
	for len(rest) > 0 {
		group := rest
		if m.use.lanes > 0 {
			group = rest[:min(len(rest), m.use.lanes)]
		}
		rest = rest[len(group):]
		n := m.alone(group)
		m.few(s, group[:n], messages, tails)
		if n < len(group) {
			m.many(s, group[n:], messages, tails)
		}
	}
}

// alone is how many messages of a group, the longest, are faster without the lanes, which step as often as the longest
// of their messages has blocks.
func (m *HMAC) alone(group []message) int {
	if m.use.lanes == 0 {
		return len(group)
	}
	best, cost, before := len(group), 0, 0
	for _, x := range group {
		cost += x.blocks
	}
	for n, x := range group {
		if c := before + m.use.pays*x.blocks; c < cost {
			best, cost = n, c
		}
		before += x.blocks
	}
	return best
}

// few hashes messages in pairs, or by the standard library.
func (m *HMAC) few(s *Scratch, group []message, messages [][]byte, tails []uint32) {
	if !m.use.pairs {
		for _, x := range group {
			m.one(s, x.index, messages, tails)
		}
		return
	}
	for len(group) > 0 {
		n := min(len(group), 2)
		m.pair(s, group[:n], messages, tails)
		group = group[n:]
	}
}

// finish writes the last blocks of a message, with its tail and padding, to s.last[i], and returns how many there are.
func (m *HMAC) finish(s *Scratch, i int, message []byte, tails []uint32, index int) int {
	f := &functions[m.hash]
	last := &s.last[i]
	n := copy(last[:128], message[len(message)/f.block*f.block:])
	if tails != nil {
		binary.BigEndian.PutUint32(last[n:], tails[index])
		n += 4
	}
	last[n] = 0x80
	end := f.block
	if n+1+f.block/8 > end {
		end += f.block
	}
	clear(last[n+1 : end-8])
	length := uint64(f.block+len(message)) * 8
	if tails != nil {
		length += 32
	}
	f.putLength(last[end-8:], length)
	return end / f.block
}

func (f *function) putLength(b []byte, bits uint64) {
	if f.big {
		binary.BigEndian.PutUint64(b, bits)
	} else {
		binary.LittleEndian.PutUint64(b, bits)
	}
}

// around makes s.last[i], which has an inner digest, the block that the outer hash ends with.
func (m *HMAC) around(s *Scratch, i int) {
	f := &functions[m.hash]
	last := s.last[i][:f.block]
	last[f.size] = 0x80
	clear(last[f.size+1 : f.block-8])
	f.putLength(last[f.block-8:], uint64(f.block+f.size)*8)
}

// many hashes messages in lanes.
func (m *HMAC) many(s *Scratch, group []message, messages [][]byte, tails []uint32) {
	f := &functions[m.hash]
	var data, last [Max]*byte
	var blocks, ends [Max]int
	for i, x := range group {
		b := messages[x.index]
		blocks[i] = len(b) / f.block
		if blocks[i] > 0 {
			data[i] = &b[0]
		}
		last[i] = &s.last[i][0]
		ends[i] = m.finish(s, i, b, tails, x.index)
	}
	n := len(group)
	s.set(m.hash, m.use.lanes, &m.inner)
	m.steps(s, &data, blocks[:n])
	m.steps(s, &last, ends[:n])
	for i := range group {
		m.digest(s, i, &s.last[i])
		m.around(s, i)
		last[i], ends[i] = &s.last[i][0], 1
	}
	s.set(m.hash, m.use.lanes, &m.outer)
	m.steps(s, &last, ends[:n])
	for i, x := range group {
		m.digest(s, i, &s.last[i])
		copy(s.Sums[x.index][:], s.last[i][:64])
	}
}

// digest writes the words of lane i.
func (m *HMAC) digest(s *Scratch, i int, to *[256]byte) {
	f := &functions[m.hash]
	switch {
	case f.block == 128:
		for w := range f.words {
			binary.BigEndian.PutUint64(to[8*w:], s.state[w*m.use.lanes+i])
		}
	case f.big:
		for w := range f.words {
			binary.BigEndian.PutUint32(to[4*w:], s.words32()[w*m.use.lanes+i])
		}
	default:
		for w := range f.words {
			binary.LittleEndian.PutUint32(to[4*w:], s.words32()[w*m.use.lanes+i])
		}
	}
}

// steps hashes blocks[i] blocks of lane i. A lane that is finished is made to read where another does.
func (m *HMAC) steps(s *Scratch, data *[Max]*byte, blocks []int) {
	for done := 0; ; {
		rows, live, bits := 0, 0, uint64(0)
		for i, k := range blocks {
			if k > done {
				if bits == 0 || k-done < rows {
					rows = k - done
				}
				live = i
				bits |= 1 << i
			}
		}
		if bits == 0 {
			return
		}
		for i := range m.use.lanes {
			if bits&(1<<i) == 0 {
				data[i] = data[live]
			}
		}
		step(m.hash, m.use.lanes, &s.state, data, done*functions[m.hash].block, rows, bits)
		done += rows
	}
}

// pair hashes one or two messages, the first the longer one, by the SHA instructions.
func (m *HMAC) pair(s *Scratch, group []message, messages [][]byte, tails []uint32) {
	f := &functions[m.hash]
	n := len(group)
	words := s.words32()
	states := [2]*uint32{&words[0], &words[8]}
	var data, last [2]*byte
	var blocks, ends [2]int
	for i, x := range group {
		b := messages[x.index]
		blocks[i] = len(b) / f.block
		if blocks[i] > 0 {
			data[i] = &b[0]
		}
		last[i] = &s.last[i][0]
		ends[i] = m.finish(s, i, b, tails, x.index)
		for w := range f.words {
			words[8*i+w] = uint32(m.inner[w])
		}
	}
	m.both(n, &states, &data, blocks)
	m.both(n, &states, &last, ends)
	for i := range group {
		for w := range f.words {
			binary.BigEndian.PutUint32(s.last[i][4*w:], words[8*i+w])
			words[8*i+w] = uint32(m.outer[w])
		}
		m.around(s, i)
	}
	m.both(n, &states, &last, [2]int{1, n - 1})
	for i, x := range group {
		for w := range f.words {
			binary.BigEndian.PutUint32(s.Sums[x.index][4*w:], words[8*i+w])
		}
	}
}

// both hashes blocks of two messages, as many as both have side by side.
func (m *HMAC) both(n int, states *[2]*uint32, data *[2]*byte, blocks [2]int) {
	common := 0
	if n == 2 {
		if common = min(blocks[0], blocks[1]); common > 0 {
			if m.hash == SHA1 {
				sha1ni2(states, data, 0, common)
			} else {
				sha256ni2(states, data, 0, common)
			}
		}
	}
	for i := range n {
		if blocks[i] == common {
			continue
		}
		one, from := [2]*uint32{states[i]}, [2]*byte{data[i]}
		if m.hash == SHA1 {
			sha1ni1(&one, &from, common*functions[m.hash].block, blocks[i]-common)
		} else {
			sha256ni1(&one, &from, common*functions[m.hash].block, blocks[i]-common)
		}
	}
}
