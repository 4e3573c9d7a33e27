//go:build !purego

package lanes

import (
	"encoding/binary"
	"unsafe"
)

// kernels are the functions for a hash, and when each is the fastest.
type kernels struct {
	lanes int  // how many messages the function of lanes takes; 0: there is no assembly
	pairs bool // there is a function with the SHA instructions, for one message and for two
	// pays is how many blocks the other way, in pairs or by the standard library, takes the time of one step of the
	// lanes for, however many of the lanes are used.
	pays int
}

func (k kernels) any() bool   { return k.lanes > 0 }
func (k kernels) alone() bool { return k.pairs }

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

const never = 1 << 20

// measured says when the lanes pay: beside the standard library, and beside pairs. It is from the table in README.md.
var measured = [...][SHA512 + 1]struct{ lanes, pays, paysPairs int }{
	avx512: {
		MD5:    {lanes: 16, pays: 2},
		SHA1:   {lanes: 16, pays: 3, paysPairs: 8},
		SHA256: {lanes: 16, pays: 3, paysPairs: 15},
		SHA384: {lanes: 8, pays: 3},
		SHA512: {lanes: 8, pays: 3},
	},
	avx2: {
		MD5:    {lanes: 8, pays: 2},
		SHA1:   {lanes: 8, pays: 3, paysPairs: never},
		SHA256: {lanes: 8, pays: 3, paysPairs: never},
		SHA384: {lanes: 4, pays: 3},
		SHA512: {lanes: 4, pays: 3},
	},
}

// step calls the function of lanes, as gen/lanes.go has it.
func step(h Hash, lanes int, state *[64]uint64, data *[Max]*byte, off, blocks int, bits uint64, from *[16]uint64, sums *[Max][64]byte) {
	switch {
	case h == MD5 && lanes == 16:
		md5x16(state, data, off, blocks, bits, from, sums)
	case h == MD5:
		md5x8(state, data, off, blocks, bits, from, sums)
	case h == SHA1 && lanes == 16:
		sha1x16(state, data, off, blocks, bits, from, sums)
	case h == SHA1:
		sha1x8(state, data, off, blocks, bits, from, sums)
	case h == SHA256 && lanes == 16:
		sha256x16(state, data, off, blocks, bits, from, sums)
	case h == SHA256:
		sha256x8(state, data, off, blocks, bits, from, sums)
	case lanes == 8:
		sha512x8(state, data, off, blocks, bits, from, sums)
	default:
		sha512x4(state, data, off, blocks, bits, from, sums)
	}
}

// words32 are the words of 32 bits in s.
func words32(s *[16]uint64) *[32]uint32 { return (*[32]uint32)(unsafe.Pointer(s)) }

// setWord sets word i of s.
func setWord(h Hash, s *[16]uint64, i int, w uint64) {
	if functions[h].block == 128 {
		s[i] = w
	} else {
		words32(s)[i] = uint32(w)
	}
}

// compress is the state after one block of a message.
func compress(h Hash, s *[16]uint64, block *[128]byte) {
	f := &functions[h]
	lanes := measured[detected][h].lanes
	var state [64]uint64
	var data [Max]*byte
	for i := range data {
		data[i] = &block[0]
	}
	for i, w := range f.first[:f.words] {
		setWord(h, s, i, w)
	}
	step(h, lanes, &state, &data, 0, 1, 1, s, nil)
	for w := range f.words {
		if f.block == 128 {
			s[w] = state[w*lanes]
		} else {
			words32(s)[w] = (*[128]uint32)(unsafe.Pointer(&state))[w*lanes]
		}
	}
	clear(state[:]) // as good as the key
}

// pad writes the words of outer behind its state.
func (m *HMAC) pad() {
	f := &functions[m.hash]
	bits := uint64(f.block+f.size) * 8
	switch {
	case m.hash == MD5:
		setWord(m.hash, &m.outer, f.words, 0x80)
		setWord(m.hash, &m.outer, 14, bits)
	case f.block == 128:
		if m.hash == SHA512 {
			m.outer[8] = 1 << 63
		} // else many writes it to the state
		m.outer[15] = bits
	default:
		setWord(m.hash, &m.outer, f.words, 1<<31)
		setWord(m.hash, &m.outer, 15, bits)
	}
}

// A message is one that Sum was given, by its index, and how many blocks it has with its padding.
type message struct{ index, blocks int }

func (m *HMAC) sum(s *Scratch, messages [][]byte, tails []uint32) {
	if len(messages) == 1 && m.use.pays > 1 {
		m.few(s, []message{{}}, messages, tails)
		return
	}
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
		group := rest[:min(len(rest), m.use.lanes)]
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
	best, cost, before := len(group), 0, 0
	for _, x := range group {
		cost += x.blocks
	}
	for n, x := range group {
		if c := before + m.use.pays*x.blocks; c <= cost {
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

// whole is where the blocks of a message begin that need no padding, and how many there are.
func (f *function) whole(message []byte) (data *byte, blocks int) {
	if blocks = len(message) / f.block; blocks > 0 {
		data = &message[0]
	}
	return data, blocks
}

// finish writes the last blocks of a message, with its tail and padding, to s.last[i], and returns where they begin and how many
// there are.
func (m *HMAC) finish(s *Scratch, i int, message []byte, tails []uint32, index int) (*byte, int) {
	f := &functions[m.hash]
	rest := message[len(message)&^(f.block-1):]
	last, n, end := &s.last[i], len(rest), f.block
	bits := uint64(f.block+len(message)) * 8
	if tails != nil {
		bits += 32
		n += 4
	}
	*(*[64]byte)(last[:]) = [64]byte{}
	*(*[64]byte)(last[64:]) = [64]byte{}
	if f.block == 128 {
		*(*[128]byte)(last[128:]) = [128]byte{}
	}
	if n+1+f.block/8 > end {
		end += f.block
	}
	copy(last[:], rest)
	if tails != nil {
		binary.BigEndian.PutUint32(last[n-4:], tails[index])
	}
	last[n] = 0x80
	if f.big {
		binary.BigEndian.PutUint64(last[end-8:], bits)
	} else {
		binary.LittleEndian.PutUint64(last[end-8:], bits)
	}
	return &last[0], end / f.block
}

// many hashes messages in lanes.
func (m *HMAC) many(s *Scratch, group []message, messages [][]byte, tails []uint32) {
	f := &functions[m.hash]
	var data, last [Max]*byte
	var blocks, ends [Max]int
	for i, x := range group {
		data[i], blocks[i] = f.whole(messages[x.index])
		last[i], ends[i] = m.finish(s, i, messages[x.index], tails, x.index)
	}
	n := len(group)
	from := m.steps(s, &data, blocks[:n], &m.inner)
	m.steps(s, &last, ends[:n], from)
	if m.hash == SHA384 { // its digest is two words shorter than its state
		for i := range m.use.lanes {
			s.state[6*m.use.lanes+i], s.state[7*m.use.lanes+i] = 1<<63, 0
		}
	}
	step(m.hash, m.use.lanes, &s.state, nil, 0, 1, 1<<m.use.lanes-1, &m.outer, &s.sums)
	for i, x := range group {
		s.Sums[x.index] = s.sums[i]
	}
}

// steps hashes blocks[i] blocks of lane i, from the state given if there is one. It returns that if there was no block. A
// lane that is finished is made to read where another does.
func (m *HMAC) steps(s *Scratch, data *[Max]*byte, blocks []int, from *[16]uint64) *[16]uint64 {
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
			return from
		}
		for i := range m.use.lanes {
			if bits&(1<<i) == 0 {
				data[i] = data[live]
			}
		}
		step(m.hash, m.use.lanes, &s.state, data, done*functions[m.hash].block, rows, bits, from, nil)
		from = nil
		done += rows
	}
}

// pair hashes one or two messages, the first the longer one, by the SHA instructions.
func (m *HMAC) pair(s *Scratch, group []message, messages [][]byte, tails []uint32) {
	f := &functions[m.hash]
	n := len(group)
	var state [2][8]uint32
	states := [2]*uint32{&state[0][0], &state[1][0]}
	var data, last [2]*byte
	var blocks, ends [2]int
	for i, x := range group {
		data[i], blocks[i] = f.whole(messages[x.index])
		last[i], ends[i] = m.finish(s, i, messages[x.index], tails, x.index)
		state[i] = [8]uint32(words32(&m.inner)[:8])
	}
	m.both(n, &states, &data, blocks)
	m.both(n, &states, &last, ends)
	for i := range group {
		block := s.last[i][:64]
		for w := range 16 {
			v := words32(&m.outer)[w]
			if w < f.words {
				v = state[i][w]
			}
			binary.BigEndian.PutUint32(block[4*w:], v)
		}
		state[i] = [8]uint32(words32(&m.outer)[:8])
	}
	m.both(n, &states, &last, [2]int{1, n - 1})
	for i, x := range group {
		sum := &s.Sums[x.index]
		for w := range f.words {
			binary.BigEndian.PutUint32(sum[4*w:], state[i][w])
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
