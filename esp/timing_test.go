package esp

import (
	"bytes"
	"os"
	"testing"

	"vpngw/ipsec/timingtest"
)

// TestForgeriesTakeTheSameTime: without the keys nobody learns from the time of a drop what is wrong with a packet. It
// measures, so it runs in make soak.
func TestForgeriesTakeTheSameTime(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("needs SOAK=1 and a quiet machine")
	}
	for _, proposal := range []string{"aes128-md5", "aes128-sha1", "aes256-sha256", "aes256-sha512", "3des-sha1", "aes128gcm16", "chacha20poly1305"} {
		out, in, _ := halves(t, suite{Suite: named(t, proposal)})
		good := out.seal(make([]byte, out.sealed(256)), roomy(256), protoIPv4, 1)
		icv := len(good) - in.icvLen
		foreign := append(bytes.Clone(good[:espHeader]), roomy(len(good)-espHeader)...) // as with another key
		changed := func(at int) []byte {
			b := bytes.Clone(good)
			b[at] ^= 1
			return b
		}
		b, dst := make([]byte, len(good)), make([]byte, len(good))
		same := func(name string, x, y []byte) {
			timingtest.Same(t, proposal+": "+name, func(i int) { timingtest.Pick(b, x, y, i) }, func() {
				if _, _, why := in.alone(dst, b, 1); why != dropBadICV {
					t.Fatal(why)
				}
			})
		}
		same("the ICV wrong in its first or last byte", changed(icv), changed(len(good)-1))
		same("the ICV wrong, or the block with the padding", changed(icv), changed(icv-1))
		same("the ICV wrong, or everything", changed(icv), foreign)
	}
}
