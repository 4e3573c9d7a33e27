package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike"
	"vpngw/ike/iketest"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// story is how a and b connect.
type story struct {
	name    string
	version int
	nat     bool
	change  func(p *sa.Peer)
}

var stories = []story{
	{"IKEv2", 2, false, nil},
	{"IKEv2 in fragments", 2, false, big},
	{"IKEv2 behind a NAT", 2, true, nil},
	{"main mode", 1, false, nil},
	{"main mode in fragments", 1, false, big},
	{"main mode behind a NAT", 1, true, nil},
	{"aggressive mode", 1, false, aggressive},
	{"aggressive mode behind a NAT", 1, true, aggressive},
}

func aggressive(p *sa.Peer) { p.Aggressive = true }

// big makes messages that need several datagrams.
func big(p *sa.Peer) {
	c := p.Children[0]
	if p.Version == 1 {
		c.Proposals = proposals(ipsec.ProtoESP, "aes128-aes256-aes192-3des-des-md5-sha512-sha384-sha256-sha1")
		return
	}
	for _, s := range []*[]ipsec.Selector{&c.Local, &c.Remote} {
		net := (*s)[0].Prefixes()[0].Addr().As4()
		*s = nil
		for i := range byte(60) {
			net[2] = i
			*s = append(*s, ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4(net), 24)))
		}
	}
}

// peer is how a host knows another one. Only the lower address begins.
func (s *story) peer(name string, local, remote netip.Addr, l, r string, ids [2]netip.Addr) *sa.Peer {
	p := &sa.Peer{
		Name:    name,
		PeerKey: sa.PeerKey{Remote: remote, LocalID: ipsec.IdentityOf(ids[0]), RemoteID: ipsec.IdentityOf(ids[1])},
		Settings: sa.Settings{
			Version: s.version, PSK: ipsec.Secret("not a real key"), Proposals: proposals(ipsec.ProtoIKE, "aes128-sha256-x25519"),
			Lifetime: 24 * time.Hour, NATT: true, DPD: dpd.Config{Interval: 30 * time.Second},
		},
		Children: []*sa.Child{{
			Name: name, Tunnel: name, Initiate: ids[0].Less(ids[1]), Proposals: proposals(ipsec.ProtoESP, "aes128gcm16"),
			Local: []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(l))}, Remote: []ipsec.Selector{ipsec.SelectorOf(netip.MustParsePrefix(r))},
			Lifetime: ipsec.Lifetime{Time: time.Hour},
		}},
	}
	if s.version == 1 {
		p.Proposals = proposals(ipsec.ProtoIKE, "aes128-md5-ecp256")
		p.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes128-md5")
	}
	if s.change != nil {
		s.change(p)
	}
	return p
}

// peers are the peers of a, b and c, made again for each world.
func (s *story) peers() [3][]*sa.Peer {
	a := addrA
	if s.nat {
		a = outside
	}
	toC := s.peer("b to c", addrB, addrC, "10.2.0.0/16", "10.3.0.0/16", [2]netip.Addr{addrB, addrC})
	ofC := s.peer("c", addrC, addrB, "10.3.0.0/16", "10.2.0.0/16", [2]netip.Addr{addrC, addrB})
	toC.DPD.Interval, ofC.DPD.Interval = time.Hour, time.Hour
	ab := [2]netip.Addr{addrA, addrB}
	return [3][]*sa.Peer{
		{s.peer("a", addrA, addrB, "10.1.0.0/16", "10.2.0.0/16", ab)},
		{s.peer("b", addrB, a, "10.2.0.0/16", "10.1.0.0/16", [2]netip.Addr{ab[1], ab[0]}), toC},
		{ofC},
	}
}

// state is a world at rest in the middle of its story.
type state struct {
	story   *story
	name    string
	now     time.Time
	ends    []ice
	wire    []parcel
	history []parcel // what has arrived so far
	tap     *iketest.Tap
	tap1    *iketest.Tap1
	whole   bool // a and b have a Child SA
	calm    bool // and no exchange is under way that goes in clear, so that a stranger can spoil it

	peers       [3][]*sa.Peer
	undisturbed outcome
}

// ice is a frozen host.
type ice struct {
	frozen  ike.Frozen
	spi     uint32
	taken   map[uint32]bool
	in, out map[uint32]uint32
	newest  uint32
}

// states plays a story, and returns a state for each message that was sent, before it arrives, and some at rest.
func (s *story) states(t testing.TB) []*state {
	w := &world{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), nat: s.nat, rand: rand.NewChaCha8([32]byte{7})}
	peers := s.peers()
	for i, addr := range []netip.Addr{addrA, addrB, addrC} {
		n := w.add(addr, uint32(0x1000*(i+1)))
		n.Endpoint = ike.New(n.cfg)
		if n.peers = peers[i]; i > 0 { // the bystander's tunnel comes first
			n.SetPeers(w.now, n.peers)
		}
	}
	w.run(10 * time.Second)
	w.ends[1].keys.Reset()
	keys := func() string {
		text := ""
		for _, n := range w.ends[:2] {
			text += n.keys.String()
			n.keys.Reset()
		}
		return text
	}
	tap, tap1 := iketest.NewTap(rand.NewChaCha8([32]byte{8}), keys), (*iketest.Tap1)(nil)
	if s.version == 1 {
		tap1 = iketest.NewTap1(keys)
	}

	var out []*state
	var history []parcel
	keep := func(name string) {
		st := &state{story: s, name: name, now: w.now, wire: slices.Clone(w.wire), history: slices.Clone(history), tap: tap, peers: peers}
		if tap1 != nil {
			st.tap1 = tap1.Clone()
		}
		for i := range st.wire[:min(1, len(st.wire))] {
			st.open(&st.wire[i])
		}
		for i, n := range w.ends {
			st.ends = append(st.ends, n.freeze())
			n.thaw(&st.ends[i], peers[i])
		}
		a, b := &st.ends[0], &st.ends[1]
		spi, up := a.out[a.newest]
		back, too := b.out[b.newest]
		_, x := b.in[spi]
		_, y := a.in[back]
		st.whole = up && too && x && y && len(b.out) > 1
		st.calm = st.whole
		if len(w.wire) > 0 {
			h, _ := wire.ParseHeader(w.wire[0].Data)
			st.calm = st.calm && h.Exchange != wire.ExchangeMain && h.Exchange != wire.ExchangeAggressive
		}
		out = append(out, st)
	}
	w.arrive = func(p parcel) {
		if h, _ := wire.ParseHeader(p.Data); h.Next != wire.TypeFragment1 || p.Data[wire.HeaderSize+6] == 1 {
			keep(fmt.Sprintf("before %s, message %d", nameOf(p), len(history)))
		}
		(&state{tap: tap, tap1: tap1}).open(&p)
		if tap1 != nil {
			tap1.See(p.Data)
			tap1.Passed(p.Data)
		}
		p.Data = bytes.Clone(p.Data)
		history = append(history, p)
	}
	a, b := w.ends[0], w.ends[1]
	a.SetPeers(w.now, a.peers)
	w.run(5 * time.Second)
	keep("connected")
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(20 * time.Second)
	keep("Child SA rekeyed")
	b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
	w.run(10 * time.Second)
	keep("IKE SA rekeyed")
	w.run(45 * time.Second) // liveness checks
	b.Do(w.now, sa.Rekey{Tunnel: "b"})
	w.run(20 * time.Second)
	keep("all rekeyed")
	for _, st := range out {
		st.undisturbed = st.thaw(0).settle()
	}
	if n, others := w.pairs(); n != 1 || others || len(w.faults) > 0 {
		t.Fatalf("%s: %d pairs of Child SAs, others: %v; %v", s.name, n, others, w.faults)
	}
	return out
}

// open decrypts a message, if the keys are known.
func (st *state) open(p *parcel) {
	if st.tap1 == nil {
		_, p.first, p.plain, _ = st.tap.Open(p.Data)
		return
	}
	h, c, ok := st.tap1.Open(p.Data)
	if !ok {
		return
	}
	if h.ID != 0 && len(c.Raw) > 0 && c.Payloads[0].Type() == wire.TypeHash1 {
		c.Payloads, c.Raw = c.Payloads[1:], c.Raw[1:]
	}
	p.first, p.plain = wire.FirstType(c.Payloads), slices.Concat(c.Raw...)
}

// nameOf names a message for people.
func nameOf(p parcel) string {
	h, _ := wire.ParseHeader(p.Data)
	kind := ""
	if h.Major == 2 {
		kind = " request"
		if h.Flags&wire.FlagResponse != 0 {
			kind = " response"
		}
	}
	to := "a"
	if p.Local.Addr() == addrB {
		to = "b"
	}
	return fmt.Sprintf("%v%s %08x to %s", h.Exchange, kind, h.ID, to)
}

func (n *end) freeze() ice {
	n.drain()
	return ice{n.Freeze(), n.spi, maps.Clone(n.taken), maps.Clone(n.in), maps.Clone(n.out), n.newest}
}

// thaw goes on where an Endpoint was frozen.
func (n *end) thaw(i *ice, peers []*sa.Peer) {
	e, err := ike.Thaw(n.cfg, n.w.now, peers, i.frozen)
	if err != nil {
		panic(err)
	}
	n.Endpoint, n.peers = e, peers
	n.spi, n.taken, n.in, n.out, n.newest = i.spi, maps.Clone(i.taken), maps.Clone(i.in), maps.Clone(i.out), i.newest
	n.drain() // the Facts about what there is
	n.facts, n.lines = nil, 0
}

// thaw makes a world that goes on from a state, with a randomness of its own.
func (st *state) thaw(seed uint64) *world {
	w := &world{now: st.now, nat: st.story.nat, wire: slices.Clone(st.wire), rand: chacha(seed)}
	for i, addr := range []netip.Addr{addrA, addrB, addrC} {
		w.add(addr, 0).thaw(&st.ends[i], st.peers[i])
	}
	w.whole = st.whole
	return w
}

func chacha(n uint64) *rand.ChaCha8 {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], n)
	return rand.NewChaCha8(seed)
}
