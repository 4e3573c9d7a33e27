package lanes

import (
	"bytes"
	"syscall"
	"testing"
)

// page returns memory behind which nothing can be read.
func page(t *testing.T, size int) []byte {
	t.Helper()
	b, err := syscall.Mmap(-1, 0, size+syscall.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(b) })
	if err := syscall.Mprotect(b[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return b[:size]
}

func TestNothingIsReadBehindABuffer(t *testing.T) {
	const size = 1 << 14
	src, dst := page(t, size), page(t, size)
	everyLevel(t, func(t *testing.T) {
		r := rng(t)
		r.Read(src)
		key, salt := random(r, 16), random(r, GCMSalt)
		g := newGCMs(t, key, salt)
		for n := range 1500 {
			text, sealed := src[size-n:], dst[size-n-GCMOverhead:]
			g.iv++
			if !g.sealer.Seal(sealed, text, key[:8], g.iv) {
				t.Fatal("refused")
			}
			text = append([]byte(nil), text...)
			if !g.opener.Open(src[size-n:], sealed, key[:8]) || !bytes.Equal(src[size-n:], text) {
				t.Fatalf("%d bytes: not opened", n)
			}
			if got, want := Sum(text), plainSum(src[size-n:]); got != want {
				t.Fatalf("%d bytes: sum %04x, want %04x", n, got, want)
			}
			if got, want := Sum(src[size-n:]), plainSum(text); got != want {
				t.Fatalf("%d bytes: sum %04x, want %04x", n, got, want)
			}
		}
	})
}
