package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// toMarked chooses among the sockets that share port 4500 by a datagram's payload. It returns 1 for a
// payload that begins with the non-ESP marker, four zero bytes (RFC 3948
// section 2.2), and else 0, also for a payload that is shorter.
var toMarked = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// marked opens a second socket with the address of s, which is on port 4500, for datagrams with
// the non-ESP marker. s was bound without SO_REUSEPORT, so no other process had the port.
func (s *Socket) marked() (*Socket, error) {
	share := option{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, true}
	var err error
	s.fd.do(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), share.level, share.name, share.value) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", share.what, err)
	}
	m, err := (&Socket{addr: s.addr, ike: true}).open([]option{share})
	if err != nil {
		return nil, err
	}
	program := unix.SockFprog{Len: uint16(len(toMarked)), Filter: &toMarked[0]}
	m.fd.do(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
	})
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("SO_ATTACH_REUSEPORT_CBPF: %w", err)
	}
	return m, nil
}
