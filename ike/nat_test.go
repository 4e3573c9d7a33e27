package ike

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// behindNAT is pairOf with a behind a NAT. b knows a by the outside address, 192.0.2.99.
func behindNAT(t testing.TB, change func(pa, pb *sa.Peer)) (*world, *end, *end, *nat) {
	w := newWorld(t, 0)
	a, b := w.host("10.0.0.1", 0x1000), w.host("192.0.2.2", 0x2000)
	n := w.nat("192.0.2.99", a)
	pa, pb := peersFor()
	pa.LocalID = ipsec.IdentityOf(n.outside)
	pb.Remote, pb.RemoteID = n.outside, pa.LocalID
	if change != nil {
		change(pa, pb)
	}
	b.SetPeers(w.now, []*sa.Peer{pb})
	a.SetPeers(w.now, []*sa.Peer{pa})
	return w, a, b, n
}

func TestNATMovesEverythingToPort4500(t *testing.T) {
	w, a, b, n := behindNAT(t, nil)
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if st := a.view()[0].IKE; st.NAT != "local" || !st.Encap {
		t.Errorf("initiator: %+v", st)
	}
	if st := b.view()[0].IKE; st.NAT != "remote" || !st.Encap {
		t.Errorf("responder: %+v", st)
	}
	if got, want := a.newest[0].Path, (ipsec.Path{Local: netip.MustParseAddrPort("10.0.0.1:4500"), Remote: netip.MustParseAddrPort("192.0.2.2:4500"), UDP: true}); got != want {
		t.Errorf("initiator's ESP path %+v, want %+v", got, want)
	}
	port := n.ports[[2]netip.AddrPort{a.newest[0].Path.Local, a.newest[0].Path.Remote}]
	if got, want := b.newest[0].Path, (ipsec.Path{Local: netip.MustParseAddrPort("192.0.2.2:4500"), Remote: netip.AddrPortFrom(n.outside, port), UDP: true}); got != want {
		t.Errorf("responder's ESP path %+v, want %+v", got, want)
	}
	if a.alive != 0 || b.alive != 0 {
		t.Error("keepalives at once")
	}
	w.run(5 * time.Minute)
	if a.alive < 14 || b.alive != 0 {
		t.Errorf("%d and %d keepalives in five minutes, want 15 from the one behind the NAT", a.alive, b.alive)
	}
}

func TestResponderBehindNAT(t *testing.T) {
	w := newWorld(t, 0)
	a, b := w.host("192.0.2.1", 0x1000), w.host("10.0.0.2", 0x2000)
	n := w.nat("192.0.2.99", b)
	for _, port := range []uint16{500, 4500} { // forwarded, as at a cloud
		inside := netip.AddrPortFrom(b.addr, port)
		n.back[port] = inside
		n.ports[[2]netip.AddrPort{inside, netip.AddrPortFrom(a.addr, port)}] = port
	}
	pa, pb := peersFor()
	pa.Remote, pa.RemoteID = n.outside, ipsec.IdentityOf(n.outside)
	pb.LocalID, pb.Local = pa.RemoteID, netip.Addr{}
	b.SetPeers(w.now, []*sa.Peer{pb})
	a.SetPeers(w.now, []*sa.Peer{pa})
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	if a.view()[0].IKE.NAT != "remote" || b.view()[0].IKE.NAT != "local" || a.alive != 0 || b.alive == 0 {
		t.Errorf("NAT %s and %s, keepalives %d and %d", a.view()[0].IKE.NAT, b.view()[0].IKE.NAT, a.alive, b.alive)
	}
}

func TestNATTOffNeitherSendsNorBelievesNATDetection(t *testing.T) {
	for name, change := range map[string]func(pa, pb *sa.Peer){
		"initiator": func(pa, _ *sa.Peer) { pa.NATT = false },
		"responder": func(_, pb *sa.Peer) { pb.NATT = false },
		"both":      func(pa, pb *sa.Peer) { pa.NATT, pb.NATT = false, false },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b, _ := behindNAT(t, change)
			sent := map[bool]int{}
			w.filter = func(d *ipsec.Datagram) bool {
				if m, err := wire.Parse(d.Data); err == nil && m.Exchange == wire.ExchangeSAInit {
					for _, k := range []wire.NotifyType{wire.NATDetectionSourceIP, wire.NATDetectionDestinationIP} {
						if wire.FindNotify(m.Payloads, k) != nil {
							sent[m.Flags&wire.FlagResponse == 0]++
						}
					}
				}
				return true
			}
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			for _, n := range []*end{a, b} {
				if off := name == "both" || (name == "initiator") == (n == a); off {
					if st := n.view()[0].IKE; st.Encap || st.NAT != "none" || n.newest[0].Path.UDP || n.newest[0].Path.Remote.Port() != 0 {
						t.Errorf("%v: %+v, ESP %+v", n.addr, st, n.newest[0].Path)
					}
					if sent[n == a] != 0 {
						t.Errorf("%v sent NAT detection", n.addr)
					}
				}
			}
		})
	}
}

func TestEncapAlwaysMakesThePeerEncapsulateToo(t *testing.T) {
	for name, change := range map[string]func(pa, pb *sa.Peer){
		"initiator": func(pa, _ *sa.Peer) { pa.Encap = sa.EncapAlways },
		"responder": func(_, pb *sa.Peer) { pb.Encap = sa.EncapAlways },
		"both":      func(pa, pb *sa.Peer) { pa.Encap, pb.Encap = sa.EncapAlways, sa.EncapAlways },
	} {
		t.Run(name, func(t *testing.T) {
			w, a, b := pairOf(t, change)
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			for _, n := range []*end{a, b} {
				p := n.newest[0].Path
				if !n.view()[0].IKE.Encap || !p.UDP || p.Local.Port() != 4500 || p.Remote.Port() != 4500 {
					t.Errorf("%v: ESP %+v", n.addr, p)
				}
			}
		})
	}
}

func TestEncapNeverWithANATIsAnErrorThatSaysWhatToDo(t *testing.T) {
	const why = "behind a NAT, which raw ESP does not pass, but encap is \"never\": set encap to \"auto\""
	t.Run("initiator", func(t *testing.T) {
		w, a, b, _ := behindNAT(t, func(pa, _ *sa.Peer) { pa.Encap = sa.EncapNever })
		w.run(time.Second)
		wantWhy(t, "initiator", a.view()[0].Why, "this host is "+why)
		wantPairs(t, a, b, 0)
	})
	t.Run("responder", func(t *testing.T) {
		w, a, b, _ := behindNAT(t, func(_, pb *sa.Peer) { pb.Encap = sa.EncapNever })
		w.run(time.Second)
		wantWhy(t, "responder", b.view()[0].Why, "the peer is "+why)
		wantPairs(t, a, b, 0)
	})
	t.Run("no NAT", func(t *testing.T) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { pa.Encap, pb.Encap = sa.EncapNever, sa.EncapNever })
		w.run(time.Second)
		wantPairs(t, a, b, 1)
		if a.newest[0].Path.UDP {
			t.Error("encapsulated")
		}
	})
}

// TestTwoPeersBehindOneNATWithTheSameSPI: first messages are told apart by address, port and hash.
func TestTwoPeersBehindOneNATWithTheSameSPI(t *testing.T) {
	w := newWorld(t, 0)
	a1, a2, b := w.host("10.0.0.1", 0x1000), w.host("10.0.0.2", 0x3000), w.host("192.0.2.2", 0x2000)
	n := w.nat("192.0.2.99", a1, a2)
	var pbs []*sa.Peer
	for i, e := range []*end{a1, a2} {
		pa, pb := peersFor()
		pa.LocalID = ipsec.Identity{Type: ipsec.IDFQDN, Data: e.addr.String()}
		pb.Name, pb.Remote, pb.RemoteID = e.addr.String(), n.outside, pa.LocalID
		c := *pb.Children[0]
		c.Name, c.Tunnel = pb.Name, pb.Name
		c.Remote = selectors("10.1.0.0/24", "10.1.1.0/24")[i : i+1]
		pa.Children[0].Local, pb.Children[0] = c.Remote, &c
		e.cfg.Rand = zeros{} // the same SPI, nonce and key
		e.env.Rand = zeros{}
		pbs = append(pbs, pb)
		e.SetPeers(w.now, []*sa.Peer{pa})
	}
	b.SetPeers(w.now, pbs)
	w.run(time.Second)
	if len(a1.out) != 1 || len(a2.out) != 1 || len(b.out) != 2 {
		t.Fatalf("%d, %d and %d Child SAs", len(a1.out), len(a2.out), len(b.out))
	}
	if a1.ikeOf().SPIi != a2.ikeOf().SPIi {
		t.Fatal("the test wants equal SPIs")
	}
	if a1.newest[0].Path.Remote != a2.newest[0].Path.Remote || b.newest[0].Path.Remote.Port() == b.newest[1].Path.Remote.Port() {
		t.Error("the ports do not tell the peers apart")
	}
	// Each IKE SA lives on and is rekeyed without the other.
	for _, e := range []*end{a1, a2} {
		e.Do(w.now, sa.Rekey{Tunnel: "a"})
	}
	w.run(time.Minute)
	if len(a1.out) != 1 || len(a2.out) != 1 || len(b.out) != 2 || len(b.table.bySPI) != 2 {
		t.Errorf("later: %d, %d and %d Child SAs, %d IKE SAs", len(a1.out), len(a2.out), len(b.out), len(b.table.bySPI))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 1
	}
	return len(b), nil
}

func TestNATPortChangeIsFollowedOnANewAuthenticPacketOnly(t *testing.T) {
	w, a, b, n := behindNAT(t, nil)
	w.run(time.Second)
	old := b.ikeOf().Path.Remote

	// ESP, then IKE: the newest authentic packet moves the path.
	spi := b.newest[0].SPIIn
	moved := netip.AddrPortFrom(n.outside, 31000)
	b.Do(w.now, sa.Moved{SPIIn: spi, Remote: moved})
	w.run(time.Millisecond)
	if b.ikeOf().Path.Remote != moved || b.moved[spi].Remote != moved {
		t.Fatalf("after an ESP packet: IKE %v, ESP %v, want %v", b.ikeOf().Path.Remote, b.moved[spi].Remote, moved)
	}
	b.Do(w.now, sa.Moved{SPIIn: 0xdead, Remote: old})
	if b.ikeOf().Path.Remote != moved {
		t.Fatal("moved by an SPI that nobody has")
	}

	var last ipsec.Datagram // the newest request that b has taken
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); d.Local.Addr() == b.addr && h.Flags&wire.FlagResponse == 0 {
			last = *d
		}
		return true
	}
	n.rebind()
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(10 * time.Second)
	here := last.Remote
	if here == old || b.ikeOf().Path.Remote != here || b.moved[b.newest[0].SPIIn].Remote != here && b.newest[0].Path.Remote != here {
		t.Fatalf("after an IKE message from %v: IKE %v", here, b.ikeOf().Path.Remote)
	}

	// A replay, a forgery and a fragment of a forgery from elsewhere.
	elsewhere := netip.MustParseAddrPort("203.0.113.66:4500")
	forged := append([]byte(nil), last.Data...)
	forged[len(forged)-1] ^= 1
	next := append([]byte(nil), last.Data...)
	next[23]++ // the next message id
	for name, data := range map[string][]byte{"replay": last.Data, "forgery": forged, "with a new id": next} {
		before := len(w.sent)
		b.Handle(w.now, ipsec.Datagram{Local: last.Local, Remote: elsewhere, Data: data})
		b.drain()
		if got := b.ikeOf().Path.Remote; got != here {
			t.Fatalf("followed a %s to %v", name, got)
		}
		if answered := len(w.sent) - before; answered != 0 && name != "replay" {
			t.Errorf("answered a %s", name)
		}
	}
}

// TestEndBehindNATDoesNotFollow: "A host behind a NAT SHOULD
// NOT do this type of dynamic address update" (RFC 7296 section 2.23).
func TestEndBehindNATDoesNotFollow(t *testing.T) {
	w, a, _, _ := behindNAT(t, nil)
	w.run(time.Second)
	want := a.ikeOf().Path
	a.Do(w.now, sa.Moved{SPIIn: a.newest[0].SPIIn, Remote: netip.MustParseAddrPort("192.0.2.2:4501")})
	tap := newTap(w)
	w.filter = func(d *ipsec.Datagram) bool {
		if _, _, ok := tap.payloads(d.Data); ok && d.Local.Addr() == a.addr {
			d.Remote = netip.MustParseAddrPort("203.0.113.5:4500")
		}
		return true
	}
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(time.Second)
	if got := a.ikeOf().Path; got != want || len(a.moved) != 0 {
		t.Errorf("IKE %+v, want %+v; moved %v", got, want, a.moved)
	}
}

// TestRetransmissionsFollowToo: "all packets (including retransmission packets)".
func TestRetransmissionsFollowToo(t *testing.T) {
	w, a, b, n := behindNAT(t, nil)
	w.run(time.Second)
	n.rebind() // b cannot reach a any more
	b.Do(w.now, sa.Rekey{Tunnel: "b"})
	w.run(2 * time.Second)
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(20 * time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}

// TestAReplacedIKESASendsWhereItsSuccessorDoes: somebody on the path sends a copy of the last message of a rekey first, from
// elsewhere. The peer's next message moves the new IKE SA back; the Delete of the old one must reach the peer too.
func TestAReplacedIKESASendsWhereItsSuccessorDoes(t *testing.T) {
	w, a, b, n := behindNAT(t, nil)
	w.run(time.Second)
	b.Do(w.now, sa.RekeyIKE{Tunnel: "b"})
	copied := false
	w.filter = func(d *ipsec.Datagram) bool {
		if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeCreateChild && d.Remote.Addr() == n.outside && !copied {
			copied = true
			b.Handle(w.now, ipsec.Datagram{Local: d.Local, Remote: netip.MustParseAddrPort("203.0.113.66:4500"), Data: bytes.Clone(d.Data)})
			b.drain()
		}
		return true
	}
	w.run(500 * time.Millisecond)
	if !copied {
		t.Fatal("nothing was copied")
	}
	a.Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(10 * time.Second)
	wantIKE(t, a, b, 1)
	wantPairs(t, a, b, 1)
}
