package load

import (
	"math"

	"vpngw/config/dialect"
	"vpngw/ipsec"
)

// wantBits is the strength that a pre-shared key should have at least: "The pre-shared key
// needs to contain as much unpredictability as the strongest key being negotiated" (RFC
// 7296 section 2.15), and who answers in a peer's place can try keys on what it hears.
const wantBits = 80

// weakPSK warns of a key that is too short for its alphabet, whatever it came from. The
// message does not say how short.
func (l *loader) weakPSK(v *dialect.Value, d *dialect.Draft, key ipsec.Secret) {
	if mostBits(key) >= wantBits {
		return
	}
	limit := ""
	if d.PSKLimit != "" {
		limit = " (" + d.PSKLimit + ")"
	}
	l.Warn(v, dialect.Weak, "the pre-shared key has less than %d bits by its length and alphabet, so it can be guessed: set one of 16 random letters and digits, or longer, at both ends%s", wantBits, limit)
}

// mostBits is the entropy of a key of random characters, each from every class of which the
// key has one. It is an upper bound: a word has less.
func mostBits(key ipsec.Secret) float64 {
	var lower, upper, digit, special, other, beyondHex bool
	for _, c := range key {
		switch {
		case 'a' <= c && c <= 'z':
			lower = true
		case 'A' <= c && c <= 'Z':
			upper = true
		case '0' <= c && c <= '9':
			digit = true
		case ' ' <= c && c <= '~':
			special = true
		default:
			other = true
		}
		beyondHex = beyondHex || 'f' < c|0x20
	}
	alphabet := 0.0
	for _, class := range []struct {
		has  bool
		size float64
	}{{lower, 26}, {upper, 26}, {digit, 10}, {special, 33}, {other, 128}} {
		if class.has {
			alphabet += class.size
		}
	}
	if hex := digit && lower != upper && !special && !other && !beyondHex; hex {
		alphabet = 16
	}
	return float64(len(key)) * math.Log2(max(alphabet, 1))
}
