package host

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// askFor is how long AskNeighbor waits for answers: less than the kernel does before a second SYN.
const askFor = 900 * time.Millisecond

// AskNeighbor asks BGP's peer for signs of life: by SYNs to TCP 179 whose connections are reset at once, and by pings. It changes nothing.
func (h *Host) AskNeighbor(a Ask) Neighbor {
	var n Neighbor
	if a.Local.Is4() != a.Remote.Is4() || !a.Remote.IsValid() {
		return n
	}
	asked := []*asking{pinging(a, 64, &n.Ping)}
	if a.Large > 64 {
		asked = append(asked, pinging(a, a.Large, &n.Large))
	}
	if a.Connect {
		alike := connecting{ttl: 1}
		if a.TTLSecurity {
			alike = connecting{ttl: 255, least: 255}
		}
		asked = append(asked, connecting{ttl: 255}.to(a, &n.Plain), alike.to(a, &n.Alike))
	}
	await(asked, time.Now().Add(askFor))
	n.Owner = listener(a.Local, BGPPort)
	n.Unsigned = tcpCount("TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure")
	n.LowTTL = tcpCount("TCPMinTTLDrop")
	return n
}

// asking is a socket that waits for an answer.
type asking struct {
	fd     int // -1: there is nothing to wait for
	events int16
	ready  func() bool // it had its answer
}

// await waits for all answers, on the caller's thread and so in its network namespace.
func await(all []*asking, until time.Time) {
	defer func() {
		for _, a := range all {
			if a.fd >= 0 {
				unix.Close(a.fd)
			}
		}
	}()
	for {
		var fds []unix.PollFd
		var of []*asking
		for _, a := range all {
			if a.fd >= 0 {
				fds, of = append(fds, unix.PollFd{Fd: int32(a.fd), Events: a.events}), append(of, a)
			}
		}
		left := time.Until(until)
		if len(fds) == 0 || left <= 0 {
			return
		}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return
		}
		for i, f := range fds {
			if f.Revents != 0 && of[i].ready() {
				unix.Close(of[i].fd)
				of[i].fd = -1
			}
		}
	}
}

// connecting is one SYN: its TTL, and the least TTL of an answer; 0: any.
type connecting struct{ ttl, least int }

func (c connecting) to(a Ask, answer *Answer) *asking {
	none := &asking{fd: -1}
	family, level, ttl, least := unix.AF_INET, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	if a.Remote.Is6() {
		family, level, ttl, least = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return none
	}
	set := func(level, option, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, option, value)
		}
	}
	set(level, ttl, c.ttl)
	if c.least > 0 {
		set(level, least, c.least)
	}
	if err == nil {
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // close sends a RST
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(a.Local, 0)))
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(netip.AddrPortFrom(a.Remote, BGPPort)))
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return none
	}
	*answer = Silence
	return &asking{fd, unix.POLLOUT, func() bool {
		switch errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); {
		case err != nil:
		case errno == 0:
			*answer = Accepted
		case errors.Is(unix.Errno(errno), unix.ECONNREFUSED):
			*answer = Refused
		}
		return true
	}}
}

// pinging is one ping of a size, which includes the IP header.
func pinging(a Ask, size int, answer *Answer) *asking {
	none := &asking{fd: -1}
	family, proto, header, level, discover := unix.AF_INET, unix.IPPROTO_ICMP, 20, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	request, reply := byte(8), byte(0)
	if a.Remote.Is6() {
		family, proto, header, level, discover = unix.AF_INET6, unix.IPPROTO_ICMPV6, 40, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
		request, reply = 128, 129
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return none
	}
	if err = unix.SetsockoptInt(fd, level, discover, unix.IP_PMTUDISC_DO); err == nil {
		if err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(a.Local, 0))); err == nil {
			err = unix.Connect(fd, sockaddr(netip.AddrPortFrom(a.Remote, 0)))
		}
	}
	b := make([]byte, size-header)
	b[0] = request
	binary.BigEndian.PutUint16(b[4:], uint16(os.Getpid()))
	binary.BigEndian.PutUint16(b[6:], uint16(size))
	if a.Remote.Is4() {
		binary.BigEndian.PutUint16(b[2:], ^fold(b)) // the kernel makes that of IPv6
	}
	if err == nil {
		_, err = unix.Write(fd, b)
	}
	if err != nil {
		unix.Close(fd)
		return none
	}
	*answer = Silence
	return &asking{fd, unix.POLLIN, func() bool {
		in := make([]byte, 1<<16)
		for {
			n, err := unix.Read(fd, in)
			if err != nil {
				return false
			}
			got := in[:n]
			if a.Remote.Is4() && n > 0 {
				got = got[min(n, int(got[0]&15)*4):]
			}
			if len(got) >= len(b) && got[0] == reply && string(got[4:8]) == string(b[4:8]) {
				*answer = Accepted
				return true
			}
		}
	}}
}

// fold is the ones' complement sum of an even number of bytes, or with a zero byte more (RFC 1071).
func fold(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// listener names a program, other than this one and its children, that listens on a TCP port of an address or of all addresses.
func listener(local netip.Addr, port uint16) string {
	for _, table := range []string{"tcp", "tcp6"} {
		for so := range procSockets(table) {
			at := so.local.Addr()
			if so.state != "0A" || so.local.Port() != port || at != local && !at.IsUnspecified() { // TCP_LISTEN
				continue
			}
			if name, pid := socketProcess(so.inode); pid > 0 && !own(pid) {
				return name + " (pid " + strconv.Itoa(pid) + ")"
			}
		}
	}
	return ""
}

// own reports whether a process is this one or a child of it.
func own(pid int) bool {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(b[max(0, strings.LastIndexByte(string(b), ')')):]), ")") // a name may hold anything
	f := strings.Fields(rest)
	return pid == os.Getpid() || len(f) > 1 && f[1] == strconv.Itoa(os.Getpid())
}

// tcpCount is the sum of some of the kernel's counters of TCP in this network namespace; it may lack them.
func tcpCount(counters ...string) (sum uint64) {
	b, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return 0
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := range min(len(names), len(f)) {
			if slices.Contains(counters, names[i]) {
				n, _ := strconv.ParseUint(f[i], 10, 64)
				sum += n
			}
		}
	}
	return sum
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
