package test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpngw/test/lab"
)

// mtuRow is a tunnel and the largest inner packet that its ESP packets carry
// within 1500 and within 1300 bytes, worked out by hand from RFC 4303 and RFC 3948.
type mtuRow struct {
	esp, encap string
	v6         bool // outside
	mtu, small int
}

var mtuRows = []mtuRow{
	// IPv4 20, SPI and number 8, IV 8, ICV 16, trailer 2; the encrypted part is a multiple of 4.
	{"aes128gcm16", "never", false, 1446, 1246},
	// UDP 8 more.
	{"aes128gcm16", "always", false, 1438, 1238},
	// IPv6 40 in place of 20.
	{"aes128gcm16", "never", true, 1426, 1226},
	{"aes128gcm16", "always", true, 1418, 1218},
	// 28, UDP 8, IV 16, ICV 16 leave 1432 and 1232: 89 and 77 blocks of 16, less 2.
	{"aes128-sha256", "always", false, 1422, 1230},
	// 28, IV 8, ICV 12 leave 1452 and 1252: 181 and 156 blocks of 8, less 2.
	{"3des-md5", "never", false, 1446, 1246},
}

// rowsOfMTU returns the rows to test: in the gate, one row of each outer form.
func rowsOfMTU() []mtuRow {
	if soak {
		return mtuRows
	}
	return []mtuRow{mtuRows[0], mtuRows[3], mtuRows[4]}
}

func (r mtuRow) String() string {
	outer := "IPv4"
	if r.v6 {
		outer = "IPv6"
	}
	return fmt.Sprintf("%s/encap=%s/%s", outer, r.encap, r.esp)
}

// start brings the tunnel up between two vpngw, with IPv4 inside, and IPv6
// too where asked for.
func (r mtuRow) start(n *lab.Net, v6 bool) (customer, cloud *lab.Vpngw) {
	n.Helper()
	s := natSuites
	s.ikeEncr, s.ikeHash = "aes256gcm16", "sha256" // its messages have any size, so probes find the MTU to the byte
	c := native("row", s)
	c.Encap, c.Native.ESP = r.encap, lab.NativeESP{Proposals: []string{r.esp}}
	if r.v6 {
		c.Native.Local.Address, c.Native.Remote.Address = lab.CustomerAddr6, lab.CloudAddr6
	}
	if v6 {
		c.Native.Local.Subnets = append(c.Native.Local.Subnets, lab.CustomerLAN6)
		c.Native.Remote.Subnets = append(c.Native.Remote.Subnets, lab.CloudLAN6)
	}
	return joined(n, c)
}

// big sends one ping that fills a packet of that size, with DF set, and waits up to 10 s for
// the answer: either the echo reply (ok), or an ICMP error with its sender and MTU. First the
// host forgets all path MTUs.
func big(n *lab.Namespace, to string, size int) (ok bool, from string, mtu int, out string) {
	return ask(n, to, size, 10)
}

// ask is big with a given number of seconds to wait.
func ask(n *lab.Namespace, to string, size, seconds int) (ok bool, from string, mtu int, out string) {
	headers := 28
	if strings.Contains(to, ":") {
		headers = 48
	}
	forget(n)
	out, err := n.Try("ping", "-n", "-c", "1", "-W", strconv.Itoa(seconds), "-M", "do", "-s", strconv.Itoa(size-headers), to)
	if m := answered.FindStringSubmatch(out); m != nil {
		from = m[1]
		mtu, _ = strconv.Atoi(m[2])
	}
	return err == nil, from, mtu, out
}

// forget removes the path MTUs that the host has learned.
func forget(n *lab.Namespace) {
	n.Run("ip", "-4", "route", "flush", "cache")
	n.Run("ip", "-6", "route", "flush", "cache")
}

var answered = regexp.MustCompile(`From (\S+) icmp_seq=1 .*mtu ?= ?(\d+)`)

// direction is one of the two between the hosts, in one address family.
type direction struct {
	from, far   *lab.Namespace
	gateway, to string // addresses
	headers     int    // of IP and TCP
}

func directions(n *lab.Net) []direction {
	return []direction{
		{n.Host, n.CloudHost, "192.168.3.1", lab.CloudHost, 40},
		{n.CloudHost, n.Host, "10.10.0.1", lab.CustomerHost, 40},
		{n.Host, n.CloudHost, "fd00:3::1", lab.CloudHost6, 60},
		{n.CloudHost, n.Host, "fd00:10::1", lab.CustomerHost6, 60},
	}
}

func TestTooBigIsAnsweredWithTheExactMTU(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "tcpdump", "tshark")
	for _, r := range rowsOfMTU() {
		t.Run(r.String(), func(t *testing.T) {
			n.Use(t)
			customer, cloud := r.start(n, true)
			for _, w := range directions(n) {
				for _, size := range []int{1500, r.mtu + 1} {
					if ok, from, mtu, out := big(w.from, w.to, size); ok || from != w.gateway || mtu != r.mtu {
						t.Errorf("%d bytes to %s: answered with MTU %d by %q, want %d by %s\n%s", size, w.to, mtu, from, r.mtu, w.gateway, out)
					}
				}
				if ok, _, _, out := big(w.from, w.to, r.mtu); !ok {
					t.Errorf("%d bytes to %s do not pass:\n%s", r.mtu, w.to, out)
				}
			}
			clamped(t, n, r.mtu)
			customer.Stop()
			cloud.Stop()
		})
	}
}

// clamped opens TCP connections and looks at the SYN where it arrives, and at
// the SYN that answers it.
func clamped(t *testing.T, n *lab.Net, mtu int) {
	t.Helper()
	const syn = "tcp[tcpflags] & tcp-syn != 0 or (ip6[6] == 6 and ip6[53] & 2 != 0)"
	captures := map[*lab.Namespace]*lab.Capture{n.Host: n.Host.Capture("eth0", syn), n.CloudHost: n.CloudHost.Capture("eth0", syn)}
	for _, w := range directions(n) {
		forget(w.from) // else TCP knows the MTU without the gateway's help
		forget(w.far)
		const bytes = 200_000
		if got := w.from.Transfer(w.far, w.to, bytes); got != bytes {
			t.Errorf("%d of %d bytes arrive at %s", got, bytes, w.to)
		}
	}
	pcaps := map[*lab.Namespace]string{}
	for host, c := range captures {
		pcaps[host] = c.Stop()
	}
	for _, w := range directions(n) {
		for _, ack := range []string{"0", "1"} { // for the connection there, and for the one back
			family := "ip"
			if w.headers == 60 {
				family = "ipv6"
			}
			filter := fmt.Sprintf("tcp.flags.ack == %s && %s.dst == %s", ack, family, w.to)
			mss := strings.Fields(n.Tshark(pcaps[w.far], "-Y", filter, "-T", "fields", "-e", "tcp.options.mss_val"))
			if len(mss) == 0 || mss[0] != strconv.Itoa(mtu-w.headers) {
				t.Errorf("SYN with ACK=%s arrives at %s with MSS %v, want %d", ack, w.to, mss, mtu-w.headers)
			}
		}
	}
}

// A link in the middle has a lower MTU than the gateways' links. The routers'
// errors about ESP packets lower the tunnel's MTU, and the gateways tell their
// hosts.
func TestSmallerPathMTUIsNoBlackHole(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "iperf3")
	n.Narrow(1300)
	for _, r := range rowsOfMTU() {
		t.Run(r.String(), func(t *testing.T) {
			n.Use(t)
			customer, cloud := r.start(n, false)
			noBlackHole(t, n, directions(n)[:2], r.mtu, r.small)
			customer.Stop()
			cloud.Stop()
			forget(n.Customer)
			forget(n.Cloud)
		})
	}
}

func TestSmallerPathMTUIsNoBlackHoleForIPv6(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t, "iperf3")
	n.Narrow(1400)
	r := mtuRow{"aes128gcm16", "never", true, 1426, 1326}
	r.start(n, true)
	noBlackHole(t, n, directions(n), r.mtu, r.small)
}

// Somebody on the internet who sees no packet of the tunnel sends errors about ESP packets with SPIs of his own.
func TestForgedTooBigLowersNothing(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	for _, r := range mtuRows[:2] {
		t.Run(r.String(), func(t *testing.T) {
			n.Use(t)
			customer, cloud := r.start(n, false)
			s := newSpoofer(t, n.Internet)
			for spi := range uint32(20) {
				s.tooBig(r.encap == "always", spi<<24|0x123456, 600)
			}
			if ok, _, told, out := big(n.Host, lab.CloudHost, r.mtu); !ok {
				t.Errorf("%d bytes do not pass, and MTU %d is told:\n%s", r.mtu, told, out)
			}
			customer.Stop()
			cloud.Stop()
		})
	}
}

// tooBig tells the customer that an ESP packet to the cloud was larger than mtu.
func (s *spoofer) tooBig(udp bool, spi uint32, mtu uint16) {
	from, to := netip.MustParseAddr(lab.CustomerAddr), netip.MustParseAddr(lab.CloudAddr)
	header := func(protocol uint8, from, to netip.Addr, payload []byte) []byte {
		b := make([]byte, 20, 20+len(payload))
		b[0], b[8], b[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
		binary.BigEndian.PutUint16(b[10:], onesComplement(b))
		return append(b, payload...)
	}
	esp := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, spi), 1)
	quote := header(50, from, to, esp)
	if udp {
		ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 4500), 4500)
		quote = header(17, from, to, slices.Concat(ports, []byte{5, 0, 0, 0}, esp))
	}
	icmp := append([]byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quote...)
	binary.BigEndian.PutUint16(icmp[2:], onesComplement(icmp))
	b := header(1, netip.MustParseAddr("198.51.100.254"), from, icmp)
	if err := syscall.Sendto(s.fd, b, 0, &syscall.SockaddrInet4{Addr: from.As4()}); err != nil {
		s.t.Errorf("sendto: %v", err)
	}
}

// onesComplement is the internet checksum of b (RFC 1071).
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum + sum>>16)
}

// The device's MTU cannot be less than 1280 with IPv6 inside. The underlay then
// fragments IPv6 packets of that size; IPv4 and TCP use the true MTU.
func TestIPv6Has1280BytesOverANarrowerPath(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	n.Narrow(1300)
	for _, r := range rowsOfMTU()[:2] {
		t.Run(r.String(), func(t *testing.T) {
			n.Use(t)
			customer, cloud := r.start(n, true)
			for _, w := range directions(n) {
				forget(w.from)
				const bytes = 200_000
				if got := w.from.Transfer(w.far, w.to, bytes); got != bytes {
					t.Errorf("%d of %d bytes arrive at %s", got, bytes, w.to)
				}
				n.Await(lab.Patience, fmt.Sprintf("1280 bytes pass to %s, or %d are told", w.to, r.small), func() (bool, string) {
					ok, _, told, out := ask(w.from, w.to, 1280, 1)
					return ok && w.headers == 60 || told == r.small && w.headers == 40, out
				})
			}
			for _, w := range directions(n) {
				if w.headers != 60 {
					continue
				}
				if p := w.from.Ping(w.to, 50, lab.Echo{Size: 1232}); p.Lost() != 0 {
					t.Errorf("IPv6 of 1280 bytes to %s: %v", w.to, p)
				}
			}
			customer.Stop()
			cloud.Stop()
			forget(n.Customer)
			forget(n.Cloud)
		})
	}
}

// noBlackHole starts with TCP, which depends on the gateway's errors alone.
func noBlackHole(t *testing.T, n *lab.Net, ws []direction, mtu, small int) {
	for _, w := range ws {
		forget(w.from)
		const bytes = 200_000
		start := time.Now()
		if got := w.from.Transfer(w.far, w.to, bytes); got != bytes {
			t.Errorf("%d of %d bytes arrive at %s", got, bytes, w.to)
		}
		tcp := time.Since(start).Round(time.Millisecond)
		pings := 0
		n.Await(lab.Patience, "the host is told what the path carries", func() (bool, string) {
			pings++
			_, from, told, out := ask(w.from, w.to, mtu, 1)
			return told == small && from == w.gateway, out
		})
		t.Logf("to %s: %d bytes of TCP in %v; MTU %d told after %d pings of %d bytes", w.to, bytes, tcp, small, pings, mtu)
	}
	for _, w := range ws {
		if ok, _, _, out := big(w.from, w.to, small); !ok {
			t.Errorf("%d bytes to %s do not pass:\n%s", small, w.to, out)
		}
		if w.headers == 40 { // no router cuts IPv6
			if p := w.from.Ping(w.to, 20, lab.Echo{Cut: true, Size: 1472}); p.Lost() != 0 {
				t.Errorf("ping that may be cut, to %s: %v", w.to, p)
			}
		}
		stream(t, w.from, w.far, w.to)
	}
}
