//go:build !purego

package lanes

import "encoding/binary"

// expand is the key schedule (FIPS 197 section 5.2). It returns the number of rounds.
func (k *roundKeys) expand(key []byte) (rounds int) {
	n := len(key) / 4
	rounds = n + 6
	w := func(i int) []byte { return k[i/4][i%4*4:][:4] }
	for i := range n {
		copy(w(i), key[4*i:4*i+4])
	}
	rcon := uint32(1)
	for i := n; i < 4*(rounds+1); i++ {
		t := binary.LittleEndian.Uint32(w(i - 1))
		switch {
		case i%n == 0:
			subWord(&t)
			t = (t>>8 | t<<24) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case n > 6 && i%n == 4:
			subWord(&t)
		}
		binary.LittleEndian.PutUint32(w(i), t^binary.LittleEndian.Uint32(w(i-n)))
	}
	return rounds
}

// invert makes the keys those of the equivalent inverse cipher (FIPS 197 section 5.3.5).
func (k *roundKeys) invert(rounds int) {
	for i, j := 0, rounds; i < j; i, j = i+1, j-1 {
		k[i], k[j] = k[j], k[i]
	}
	for i := 1; i < rounds; i++ {
		inverseMix(&k[i])
	}
}

func (e *Encrypter) cbc(bufs [][]byte) {
	if len(bufs) == 1 {
		if b := bufs[0]; len(b) > blockSize {
			cbcEncryptNI1(&e.keys, e.rounds, &[1]*byte{&b[blockSize]}, 0, len(b)/blockSize-1)
		}
		return
	}
	width := Max
	if e.level == avx2 {
		width = 8
	}
	for len(bufs) > 0 {
		n := min(len(bufs), width)
		e.group(bufs[:n], width)
		bufs = bufs[n:]
	}
}

// group encrypts as many buffers as there are lanes, or fewer. A lane whose buffer is finished, or that has none,
// does what another lane does: it writes the same bytes to the same place.
func (e *Encrypter) group(bufs [][]byte, width int) {
	var data [Max]*byte
	var blocks [Max]int
	for i, b := range bufs {
		blocks[i] = len(b)/blockSize - 1
		if blocks[i] > 0 {
			data[i] = &b[blockSize]
		}
	}
	n := len(bufs)
	for done := 0; ; {
		rows, live, lives := 0, 0, 0
		for i, k := range blocks[:n] {
			if k > done {
				if lives == 0 || k-done < rows {
					rows = k - done
				}
				live, lives = i, lives+1
			}
		}
		if lives == 0 {
			return
		}
		for i := range width {
			if i >= n || blocks[i] <= done {
				data[i] = data[live]
			}
		}
		switch off := done * blockSize; {
		case lives == 1:
			cbcEncryptNI1(&e.keys, e.rounds, (*[1]*byte)(data[live:]), off, rows)
			return
		case e.level == avx512 && n <= 4:
			cbcEncryptX4(&e.keys, e.rounds, &data, off, rows)
		case n <= 8: // a row takes 10.5 ns, one of 16 takes 13.3
			cbcEncryptNI8(&e.keys, e.rounds, &data, off, rows)
		default:
			cbcEncryptX16(&e.keys, e.rounds, &data, off, rows)
		}
		done += rows
	}
}

func (e *Encrypter) blocks(b *[Max * blockSize]byte, n int) {
	if e.level == avx512 {
		blocksX16(&e.keys, e.rounds, &b[0])
		return
	}
	blocksX8(&e.keys, e.rounds, &b[0])
	if n > 8 {
		blocksX8(&e.keys, e.rounds, &b[8*blockSize])
	}
}

func (d *Decrypter) cbc(dst, src []byte) {
	n := len(dst) / blockSize
	if n == 0 {
		return
	}
	if d.level == avx2 {
		cbcDecryptNarrow(&d.keys, d.rounds, &dst[0], &src[blockSize], n)
		return
	}
	cbcDecryptWide(&d.keys, d.rounds, &dst[0], &src[blockSize], n)
}
