package test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/ike/wire"
	"vpngw/ipsec"
	"vpngw/test/lab"
)

// A flood of IKE messages hits the cloud's gateway, which has tunnels to these peers: the customer, whose tunnel is
// up; two that connect during the flood; and some in a network of the attacker's, who has no key but receives what
// is sent there.
const (
	newcomer2, newcomer1 = "192.0.3.9", "192.0.3.10" // speak IKEv2 and IKEv1
	attackers            = 32
	attackerNet          = "192.0.2.0/24"
)

func attacker(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}) }

// attackerVersion is the version of IKE that an attacker's peer speaks.
func attackerVersion(i int) int {
	if i%8 < 3 {
		return 1
	}
	return 2
}

var (
	floodSuites  = suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes128gcm16", espHash: "sha256"}
	floodSuites1 = suites{ikeEncr: "aes128", ikeHash: "sha1", ikeGroup: "modp1024", espEncr: "aes128", espHash: "sha1"}
)

// floodPeer is the cloud's connection to a peer.
func floodPeer(name, at string, version int, subnet, theirs string) lab.Connection {
	c := native(name, floodSuites)
	if version == 1 {
		c = native1(name, row1{floodSuites1, false})
	}
	c.Native.Local = lab.NativeEnd{Address: lab.CloudAddr, Subnets: []string{subnet}}
	c.Native.Remote = lab.NativeEnd{Address: at, Subnets: []string{theirs}}
	return c
}

// siege is the network with the flood.
type siege struct {
	*lab.Net
	t           *testing.T
	cloud, gw   *lab.Vpngw
	newcomers   *lab.Vpngw
	established lab.TunnelStatus
	accomplices []*accomplice
	rand        *rand.Rand
	to          netip.AddrPort
}

// accomplice is one exchange that the attacker begins in a network of his own. Its answers are read on another goroutine.
type accomplice struct {
	from   netip.AddrPort
	spi    uint64
	v1     bool
	first  []byte                 // the first message
	cookie atomic.Pointer[[]byte] // the same, with the cookie that the gateway has asked for
	spiR   atomic.Uint64          // the gateway's SPI, or cookie of IKEv1
}

func besiege(t *testing.T, encap string) *siege {
	n := lab.Direct(t)
	s := &siege{Net: n, t: t, rand: rand.New(rand.NewPCG(1, 2)), to: netip.MustParseAddrPort(lab.CloudAddr + ":500")}
	newcomers := n.Namespace("newcomers")
	n.Link(newcomers, "wan", n.Internet, "newcomers")
	newcomers.Address("wan", newcomer2+"/24", newcomer1+"/24")
	n.Internet.Address("newcomers", "192.0.3.254/24")
	newcomers.Route("default", "192.0.3.254")
	n.Internet.Run("ip", "route", "add", "local", attackerNet, "dev", "lo")

	row := floodPeer("row", lab.CustomerAddr, 2, lab.CloudLAN, lab.CustomerLAN)
	row.Encap = encap
	new2 := floodPeer("new2", newcomer2, 2, "10.20.0.0/16", "192.168.20.0/24")
	new1 := floodPeer("new1", newcomer1, 1, "10.21.0.0/16", "192.168.21.0/24")
	cloud := lab.Config{Connections: []lab.Connection{row, new2, new1}}
	for i := range attackers {
		cloud.Connections = append(cloud.Connections,
			floodPeer(fmt.Sprintf("attacker%d", i), attacker(i).String(), attackerVersion(i), fmt.Sprintf("10.30.%d.0/24", i), fmt.Sprintf("192.168.%d.0/24", 100+i)))
	}
	s.cloud = n.Cloud.Vpngw(cloud, "--log-level", "info")
	s.gw = n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{mirror(row)}})
	s.newcomers = newcomers.Vpngw(lab.Config{Connections: []lab.Connection{mirror(new2), mirror(new1)}})
	s.gw.AwaitUp("row")
	for _, name := range []string{"new2", "new1"} {
		s.newcomers.AwaitUp(name)
		s.newcomers.Command("down", name)
	}
	s.established = s.cloud.AwaitUp("row")
	s.recruit()
	return s
}

// recruit prepares the exchanges of the attacker's network, and listens to their answers.
func (s *siege) recruit() {
	for i := range 64 * attackers {
		a := &accomplice{from: netip.AddrPortFrom(attacker(i%attackers), 500), spi: uint64(i) + 1, v1: attackerVersion(i%attackers) == 1}
		a.first = firstMessage(a.spi, a.v1, false, nil)
		s.accomplices = append(s.accomplices, a)
	}
	var c *net.UDPConn
	var err error
	s.Internet.Do(func() { c, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 500}) })
	if err != nil {
		s.Fatalf("the attacker's socket: %v", err)
	}
	s.t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			s.answered(b[:n])
		}
	}()
}

func (s *siege) answered(b []byte) {
	h, err := wire.ParseHeader(b)
	if err != nil || h.SPIi == 0 || h.SPIi > uint64(len(s.accomplices)) {
		return
	}
	a := s.accomplices[h.SPIi-1]
	if h.SPIr != 0 {
		a.spiR.Store(h.SPIr)
	} else if m, err := wire.Parse(b); err == nil {
		if n := wire.FindNotify(m.Payloads, wire.Cookie); n != nil {
			again := firstMessage(a.spi, false, false, n)
			a.cookie.Store(&again)
		}
	}
}

const nonceBytes = 16

// vary changes the key exchange value of a message that ends in one and a nonce.
func (s *siege) vary(b []byte) []byte {
	binary.BigEndian.PutUint64(b[len(b)-nonceBytes-4-8:], s.rand.Uint64())
	return b
}

// firstMessage is a first message that the gateway takes from a peer.
func firstMessage(spi uint64, v1, aggressive bool, cookie *wire.Notify) []byte {
	m := wire.Message{Header: wire.Header{SPIi: spi}}
	if !v1 {
		p, err := ipsec.ParseProposal(ipsec.ProtoIKE, floodSuites.ike())
		if err != nil {
			panic(err)
		}
		m.Major, m.Exchange, m.Flags = 2, wire.ExchangeSAInit, wire.FlagInitiator
		if cookie != nil {
			m.Payloads = append(m.Payloads, &wire.Notify{Kind: wire.Cookie, Data: cookie.Data})
		}
		m.Payloads = append(m.Payloads,
			&wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: ipsec.ProtoIKE, Proposal: p}}},
			&wire.KE{Group: ipsec.KEMODP2048, Data: bytes.Repeat([]byte{7}, 256)}, &wire.Nonce{Data: make([]byte, nonceBytes)})
		return m.Marshal()
	}
	m.Major, m.Exchange = 1, wire.ExchangeMain
	m.Payloads = []wire.Payload{&wire.SA1{Proposals: []wire.Proposal1{{Number: 1, Protocol: ipsec.ProtoIKE, Transforms: []wire.Transform1{{Number: 1, ID: 1, Attributes: []wire.Attribute{
		wire.ShortAttribute(1, 7), wire.ShortAttribute(14, 128), wire.ShortAttribute(2, 2), wire.ShortAttribute(4, 2), wire.ShortAttribute(3, 1),
	}}}}}}}
	if aggressive {
		m.Exchange = wire.ExchangeAggressive
		m.Payloads = append(m.Payloads, &wire.ID1{Kind: ipsec.IDIPv4, Data: netip.MustParseAddr(newcomer1).AsSlice()},
			&wire.Raw{Kind: wire.TypeKE1, Data: bytes.Repeat([]byte{7}, 128)}, &wire.Nonce1{Data: make([]byte, nonceBytes)})
	}
	return m.Marshal()
}

// A wave gives the next datagram of a flood.
type wave func() lab.Forged

// random is an address of none of the lab's networks.
func (s *siege) random() netip.AddrPort {
	r := s.rand.Uint64()
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(20 + r%100), byte(r >> 8), byte(r >> 16), byte(r >> 24)}), uint16(r>>32)|1024)
}

// named is an address of a peer whose tunnel is up, or is to come up.
func (s *siege) named() netip.AddrPort {
	r := s.rand.Uint64()
	return netip.AddrPortFrom(netip.MustParseAddr([]string{lab.CustomerAddr, newcomer2, newcomer1}[r%3]), uint16(r>>32)|1024)
}

// firsts are first messages of all kinds.
func (s *siege) firsts(from func() netip.AddrPort) wave {
	kinds := [][]byte{firstMessage(1, false, false, nil), firstMessage(1, true, false, nil), firstMessage(1, true, true, nil)}
	i := 0
	return func() lab.Forged {
		i++
		b := kinds[i%len(kinds)]
		binary.BigEndian.PutUint64(b, s.rand.Uint64())
		return lab.Forged{From: from(), To: s.to, Data: b}
	}
}

// behindMarker sends a wave to port 4500.
func (s *siege) behindMarker(w wave) wave {
	b := make([]byte, 2048)
	return func() lab.Forged {
		d := w()
		d.To = netip.AddrPortFrom(d.To.Addr(), 4500)
		d.Data = b[:4+copy(b[4:], d.Data)]
		return d
	}
}

// each calls f with the attacker's exchanges of one version, in turn.
func (s *siege) each(v1 bool, f func(*accomplice) []byte) wave {
	i := 0
	return func() lab.Forged {
		for {
			i++
			if a := s.accomplices[i%len(s.accomplices)]; a.v1 == v1 {
				return lab.Forged{From: a.from, To: s.to, Data: f(a)}
			}
		}
	}
}

// echoes are IKE_SA_INIT requests with the cookies that the gateway has asked for, each with another key exchange value.
func (s *siege) echoes() wave {
	return s.each(false, func(a *accomplice) []byte {
		b := a.cookie.Load()
		if b == nil {
			return a.first
		}
		return s.vary(bytes.Clone(*b))
	})
}

// junk is a request with an SK payload that no key has made.
func (s *siege) junk(spiI, spiR uint64, x wire.Exchange) []byte {
	body := make([]byte, 120)
	binary.BigEndian.PutUint64(body, s.rand.Uint64())
	return (&wire.Message{
		Header:   wire.Header{SPIi: spiI, SPIr: spiR, Major: 2, Exchange: x, Flags: wire.FlagInitiator, ID: 1},
		Payloads: []wire.Payload{&wire.Encrypted{Body: body}},
	}).Marshal()
}

// auths are IKE_AUTH requests of the attacker's half-open IKE SAs.
func (s *siege) auths() wave {
	return s.each(false, func(a *accomplice) []byte {
		if r := a.spiR.Load(); r != 0 {
			return s.junk(a.spi, r, wire.ExchangeAuth)
		}
		if b := a.cookie.Load(); b != nil {
			return *b
		}
		return a.first
	})
}

// onTheEstablished are requests of the IKE SA that is up, from its peer's address or from any.
func (s *siege) onTheEstablished(from func() netip.AddrPort) wave {
	i, r := cookie(s.t, s.established.IKE.SPIi), cookie(s.t, s.established.IKE.SPIr)
	kinds := []wire.Exchange{wire.ExchangeAuth, wire.ExchangeInformational, wire.ExchangeCreateChild}
	return func() lab.Forged {
		return lab.Forged{From: from(), To: s.to, Data: s.junk(i, r, kinds[s.rand.IntN(3)])}
	}
}

// thirds are messages 3 of main mode.
func (s *siege) thirds() wave {
	m := &wire.Message{
		Header:   wire.Header{Major: 1, Exchange: wire.ExchangeMain},
		Payloads: []wire.Payload{&wire.Raw{Kind: wire.TypeKE1, Data: bytes.Repeat([]byte{7}, 128)}, &wire.Nonce1{Data: make([]byte, nonceBytes)}},
	}
	i := 0
	return s.each(true, func(a *accomplice) []byte {
		i++
		r := a.spiR.Load()
		if r == 0 || i%4 == 0 { // the gateway may have forgotten the SA meanwhile
			return a.first
		}
		m.SPIi, m.SPIr = a.spi, r
		return s.vary(m.Marshal())
	})
}

// mixed takes from waves in turn.
func mixed(ws ...wave) wave {
	i := 0
	return func() lab.Forged {
		i++
		return ws[i%len(ws)]()
	}
}

// The gateway is flooded with messages of strangers and in its peers' names. It does not grow, its log stays readable, a
// tunnel that is up loses nothing and gets new keys, and peers connect.
func TestFloods(t *testing.T) {
	type scenario struct {
		name  string
		encap string
		wave  func(s *siege) wave
	}
	all := func(s *siege) wave {
		return mixed(s.firsts(s.random), s.firsts(s.named), s.firsts(s.random), s.echoes(), s.auths(), s.firsts(s.random), s.onTheEstablished(s.named), s.thirds())
	}
	scenarios, rates, length := []scenario{{"everything", "never", all}}, []int{20_000}, 8*time.Second
	if soak {
		rates, length = []int{20_000, 50_000}, 15*time.Second
		scenarios = append(scenarios,
			scenario{"first messages from anywhere", "never", func(s *siege) wave { return s.firsts(s.random) }},
			scenario{"first messages from anywhere to port 4500", "always", func(s *siege) wave { return s.behindMarker(s.firsts(s.random)) }},
			scenario{"first messages in peers' names", "never", func(s *siege) wave { return s.firsts(s.named) }},
			scenario{"first messages in peers' names to port 4500", "always", func(s *siege) wave { return s.behindMarker(s.firsts(s.named)) }},
			scenario{"cookies echoed from one network", "never", (*siege).echoes},
			scenario{"false IKE_AUTH on half-open IKE SAs", "never", (*siege).auths},
			scenario{"false requests on the established IKE SA", "never", func(s *siege) wave {
				return mixed(s.onTheEstablished(s.random), s.onTheEstablished(s.named))
			}},
			scenario{"false messages 3 of main mode", "never", (*siege).thirds},
		)
	}
	for _, c := range scenarios {
		for _, rate := range rates {
			t.Run(fmt.Sprintf("%s/%d a second", c.name, rate), func(t *testing.T) {
				s := besiege(t, c.encap)
				s.endure(rate, length, c.wave(s))
			})
		}
	}
}

// endure floods the gateway and holds it to what TestFloods says.
func (s *siege) endure(rate int, length time.Duration, w wave) {
	t := s.t
	flow, drops := s.load(), s.DeviceDrops()
	before, lines, cpu := s.cloud.Memory("VmRSS"), strings.Count(s.cloud.Log(), "\n"), s.cloud.CPU()
	began := time.Now()
	flood := s.Internet.StartFlood(rate, w)
	time.Sleep(length / 4) // what the flood can fill is full
	grown := before
	timed := func(what string, do func()) {
		start := time.Now()
		do()
		took := time.Since(start)
		t.Logf("%s after %v", what, took.Round(time.Millisecond))
		if bar := within(3 * time.Second); took > bar {
			t.Errorf("%s after %v, bar %v", what, took, bar)
		}
		grown = max(grown, s.cloud.Memory("VmRSS"))
	}
	timed("an IKEv2 peer is up", func() { s.newcomers.Command("up", "new2"); s.newcomers.AwaitUp("new2") })
	timed("an IKEv1 peer is up", func() { s.newcomers.Command("up", "new1"); s.newcomers.AwaitUp("new1") })
	timed("the tunnel has new keys", func() {
		if err := s.cloud.Rekey("row", false); err != nil {
			t.Error(err)
		}
		s.cloud.AwaitRekey(s.established, false)
	})
	for time.Since(began) < length {
		time.Sleep(100 * time.Millisecond)
		grown = max(grown, s.cloud.Memory("VmRSS"))
	}
	reached, err := flood.Stop()
	if err != nil {
		t.Fatal(err)
	}
	elapsed := time.Since(began)
	used := s.cloud.CPU() - cpu
	written := float64(strings.Count(s.cloud.Log(), "\n")-lines) / elapsed.Seconds()
	there, back := flow.Stop()
	there.Queues = s.DeviceDrops() - drops // the flood's own losses, at port 4500, excuse nothing
	back.Queues = there.Queues
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("%.0f messages a second in %v; RSS %.0f MB before, %.0f MB at most; %.0f %% of a core; %.1f log lines a second; there: %v; back: %v; load average %s%s",
		reached, elapsed.Round(time.Second), before/(1<<20), grown/(1<<20), 100*used.Seconds()/elapsed.Seconds(), written, there, back, load, s.cloud.Command("status", "--drops"))
	if soak && reached < 0.9*float64(rate) {
		t.Errorf("only %.0f messages a second could be sent", reached)
	}
	if grown-before > 64<<20 {
		t.Errorf("the gateway has grown by %.0f MB, bar 64", (grown-before)/(1<<20))
	}
	if written > 10 {
		t.Errorf("%.1f log lines a second, bar 10", written)
	}
	for way, d := range map[string]lab.Direction{"there": there, "back": back} {
		if d.Lost > 0 && !d.Excused() {
			t.Errorf("packets lost %s: %v; want 0", way, d)
		}
	}
}

// load is what the tunnel carries: numbered packets, and in a soak 200 Mbit/s each way beside them.
func (s *siege) load() *lab.Flow {
	perSecond := 1000
	if soak {
		perSecond = 5000
		server := s.CloudHost.Start("iperf-server", "iperf3", "-s", "-B", lab.CloudHost, "--forceflush")
		server.AwaitLog("Server listening")
		s.Host.Start("iperf-client", "iperf3", "-c", lab.CloudHost, "-t", "36000", "-b", "200M", "--bidir", "--forceflush").AwaitLog("sec")
	}
	return s.StartFlow(s.Host, lab.CustomerHost, s.CloudHost, lab.CloudHost, perSecond)
}
