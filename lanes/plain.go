//go:build !amd64 || purego

package lanes

const detected = plain

type level uint8

const (
	plain   level = 0
	sumPays       = 0
)

func (k *roundKeys) expand([]byte) int { panic("lanes: no assembly") }
func (k *roundKeys) invert(int)        {}

func (e *Encrypter) cbc([][]byte)                       {}
func (e *Encrypter) blocks(*[Max * blockSize]byte, int) {}
func (d *Decrypter) cbc(_, _ []byte)                    {}

func gcmWide() bool                          { return false }
func (g *gcm) expand([]byte)                 {}
func (g *gcm) seal(_, _, _ []byte, _ uint64) {}
func (g *gcm) open(_, _, _ []byte) bool      { return false }

func sumPrefix(b []byte) (uint64, []byte) { return 0, b }

type kernels struct{}

func kernelsOf(Hash) kernels { return kernels{} }
func (kernels) any() bool    { return false }
func (kernels) alone() bool  { return false }

func compress(Hash, *[16]uint64, *[128]byte) {}

func (m *HMAC) pad() {}

func (m *HMAC) sum(*Scratch, [][]byte, []uint32) {}
