package host

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FD returns the descriptor for a Poller.
func (t *TUN) FD() int { return t.fd.fd }

// ReadReady reads frames into b one after the other, each a packet behind its virtio_net_hdr, and hands
// them to take, until take returns false or no frame is ready. b needs 64 KB
// and 9 bytes. One goroutine at a time. After Close, or when the device was removed, it returns
// os.ErrClosed.
func (t *TUN) ReadReady(b []byte, take func(frame []byte) bool) error {
	if !t.fd.enter() {
		return t.failed(unix.EBADFD)
	}
	defer t.fd.leave()
	for {
		// The device does not block, so the scheduler need not hear of it.
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(t.fd.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch e {
		case 0:
			if !take(b[:n:cap(b)]) {
				return nil
			}
		case unix.EINTR:
		case unix.EAGAIN:
			return nil
		default:
			return t.failed(e)
		}
	}
}

// WriteFrame writes a packet or super-packet behind its virtio_net_hdr. Any goroutine may.
func (t *TUN) WriteFrame(frame []byte) error {
	if !t.fd.enter() {
		return t.failed(unix.EBADFD)
	}
	defer t.fd.leave()
	for {
		_, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(t.fd.fd), uintptr(unsafe.Pointer(unsafe.SliceData(frame))), uintptr(len(frame)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return t.failed(e)
		}
	}
}

// failed is the error to return for an errno. The kernel answers EBADFD when the device is gone.
func (t *TUN) failed(e unix.Errno) error {
	if e == unix.EBADFD {
		return fmt.Errorf("device %s: %w", t.name, os.ErrClosed)
	}
	return fmt.Errorf("device %s: %w", t.name, e)
}

// SegmentsUDP reports whether the kernel takes and gives UDP super-packets.
func (t *TUN) SegmentsUDP() bool { return t.uso }
