//go:build !purego

package lanes

// sumPays is from how many bytes on Sum takes wide registers, as measured (see README.md).
const sumPays = 192

// sumPrefix adds up the words of the beginning of b, in little-endian order, and returns the rest.
func sumPrefix(b []byte) (sum uint64, rest []byte) {
	if detected == plain {
		return 0, b
	}
	for len(b) >= 32 {
		n, s := min(len(b), 1<<20)&^31, uint64(0)
		sumNarrow(&b[0], n, &s)
		sum += s
		b = b[n:]
	}
	return sum, b
}
