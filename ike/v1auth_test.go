package ike

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// The full set between two vpngw: every cipher with every hash and every group, of phase 1 and of
// ESP, in both modes, with PFS and without.
func TestV1EveryAlgorithm(t *testing.T) {
	t.Parallel()
	var rows []row1
	for _, c := range []string{"des", "3des", "aes128", "aes192", "aes256"} {
		for _, h := range []string{"md5", "sha1", "sha256", "sha384", "sha512"} {
			for _, g := range []string{"modp768", "modp1024", "modp1536", "modp2048", "modp3072", "modp4096", "modp2048s256", "ecp256", "ecp384", "ecp521"} {
				rows = append(rows, row1{c + "-" + h + "-" + g, c + "-" + h}, row1{c + "-" + h + "-" + g, c + "-" + h + "-" + g})
			}
		}
	}
	for _, e := range []string{"aes128gcm16", "aes192gcm16", "aes256gcm16", "null-md5", "null-sha1", "null-sha256", "null-sha384", "null-sha512"} {
		rows = append(rows, row1{"aes128-sha256-ecp256", e}, row1{"aes128-sha256-ecp256", e + "-ecp256"})
	}
	n := 0
	for _, r := range rows {
		both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				change(pa, pb)
				for _, p := range []*sa.Peer{pa, pb} {
					p.Proposals = proposals(ipsec.ProtoIKE, r.ike)
					p.Children[0].Proposals = proposals(ipsec.ProtoESP, r.esp)
				}
			})
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			if got := a.ikeOf().Suite.Proposal(); got.String() != proposals(ipsec.ProtoIKE, r.ike)[0].String() {
				t.Errorf("%s became %v", r.ike, got)
			}
			if got := a.newest[0].Suite; got.String() != r.esp {
				t.Errorf("%s became %v", r.esp, got)
			}
			n++
		})
	}
	t.Logf("%d connections: %d sets of algorithms in main and aggressive mode", n, len(rows))
}

type row1 struct{ ike, esp string }

func TestV1Identities(t *testing.T) {
	for _, c := range []struct{ a, b string }{
		{"gw.example.net", "cloud.example.net"},
		{"joe@example.net", "ann@example.net"},
		{"keyid:branch 7", "@#00ff17"},
		{"2001:db8::7", "2001:db8::8"},
		{"172.16.5.2", "cloud.example.net"}, // an address that is not the outer one
		{strings.Repeat("x", 80), "y"},
	} {
		both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
			for _, nat := range []bool{false, true} {
				ids := func(pa, pb *sa.Peer) {
					change(pa, pb)
					pa.LocalID, pa.RemoteID = ipsec.ParseIdentity(c.a), ipsec.ParseIdentity(c.b)
					pb.LocalID, pb.RemoteID = pa.RemoteID, pa.LocalID
				}
				var w *world
				var a, b *end
				if nat {
					w, a, b, _ = behindNAT(t, ids)
				} else {
					w, a, b = pairOf(t, ids)
				}
				w.run(time.Second)
				wantPairs(t, a, b, 1)
			}
		})
	}
}

// What both ends say when their settings differ.
func TestV1FailuresAreTold(t *testing.T) {
	id := func(s string) ipsec.Identity { return ipsec.ParseIdentity(s) }
	for _, c := range []struct {
		name     string
		change   func(pa, pb *sa.Peer)
		a, b     []string // in main mode
		agA, agB []string // in aggressive mode; nil: as in main mode
	}{
		{
			"wrong key", func(_, pb *sa.Peer) { pb.PSK = ipsec.Secret("another") },
			[]string{"no message 6", "the pre-shared keys or the identities differ"},
			[]string{"message 5 does not decrypt: the pre-shared keys differ"},
			[]string{"HASH_R", "the pre-shared keys differ"},
			[]string{""},
		},
		{
			"the peer expects another identity", func(_, pb *sa.Peer) { pb.RemoteID = id("other.example.net") },
			[]string{"INVALID-ID-INFORMATION"},
			[]string{"192.0.2.1 (IPv4 address)", "other.example.net"},
			[]string{"INVALID-ID-INFORMATION"},
			nil,
		},
		{
			"the peer is somebody else", func(_, pb *sa.Peer) { pb.LocalID = id("other.example.net") },
			[]string{"other.example.net", "192.0.2.2"},
			[]string{"INVALID-ID-INFORMATION"},
			nil,
			[]string{""},
		},
		{
			"other algorithms", func(_, pb *sa.Peer) { pb.Proposals = proposals(ipsec.ProtoIKE, "aes256-sha256-modp1024") },
			[]string{"NO-PROPOSAL-CHOSEN", "aes128-md5"},
			[]string{"encryption: ours aes256, theirs aes128", "md5"},
			nil, nil,
		},
		{
			"the other mode", func(_, pb *sa.Peer) { pb.Aggressive = !pb.Aggressive },
			[]string{"INVALID-EXCHANGE-TYPE"},
			[]string{"the peer begins in main mode", "set the same at both ends"},
			nil,
			[]string{"the peer begins in aggressive mode"},
		},
		{
			"other ESP algorithms", func(_, pb *sa.Peer) { pb.Children[0].Proposals = proposals(ipsec.ProtoESP, "3des-sha1-modp1024") },
			[]string{"NO-PROPOSAL-CHOSEN", "aes128-md5-modp1024"},
			[]string{"encryption: ours 3des, theirs aes128"},
			nil, nil,
		},
		{
			"PFS at one end", func(_, pb *sa.Peer) { pb.Children[0].Proposals = proposals(ipsec.ProtoESP, "aes128-md5") },
			[]string{"NO-PROPOSAL-CHOSEN", "PFS group"},
			[]string{"key exchange: ours none, theirs modp1024"},
			nil, nil,
		},
		{
			"other subnets", func(_, pb *sa.Peer) { pb.Children[0].Local = selectors("10.9.0.0/16") },
			[]string{"INVALID-ID-INFORMATION", "10.2.0.0/16"},
			[]string{"10.2.0.0/16", "10.9.0.0/16"},
			nil, nil,
		},
		{
			"wider subnets", func(pa, _ *sa.Peer) { pa.Children[0].Remote = selectors("0.0.0.0/0") },
			[]string{"INVALID-ID-INFORMATION", "0.0.0.0/0"},
			[]string{"0.0.0.0/0", "10.2.0.0/16"},
			nil, nil,
		},
		{
			"IKEv2 there", func(_, pb *sa.Peer) { pb.Version = 2 },
			[]string{"no answer to phase 1 of IKEv1"},
			[]string{"the peer speaks IKEv1; this connection is IKEv2"},
			nil, nil,
		},
		{
			"IKEv1 there", func(pa, pb *sa.Peer) {
				pa.Version, pa.Proposals = 2, proposals(ipsec.ProtoIKE, "aes128-md5-modp1024")
			},
			[]string{""},
			[]string{"the peer speaks IKEv2; this connection is IKEv1"},
			nil, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, mode := range []func(pa, pb *sa.Peer){v1, aggressive} {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) { mode(pa, pb); c.change(pa, pb) })
				w.run(5 * time.Second)
				wantPairs(t, a, b, 0)
				wa, wb := c.a, c.b
				if a.peer(0).cfg.Aggressive {
					if c.agA != nil {
						wa = c.agA
					}
					if c.agB != nil {
						wb = c.agB
					}
				}
				for _, x := range []struct {
					who  string
					n    *end
					want []string
				}{{"initiator", a, wa}, {"responder", b, wb}} {
					st := x.n.view()[0]
					why := st.Why
					if why == "" {
						why = st.Children[0].Why
					}
					for _, words := range x.want {
						if !strings.Contains(why, words) && words != "no answer to phase 1 of IKEv1" {
							t.Errorf("aggressive %v: the %s says %q, want %q in it", a.peer(0).cfg.Aggressive, x.who, why, words)
						}
					}
				}
				w.run(5 * time.Minute)
				a.noLeaks()
				b.noLeaks()
				if len(a.table.bySPI)+len(b.table.bySPI) > 4 {
					t.Errorf("%d and %d ISAKMP SAs", len(a.table.bySPI), len(b.table.bySPI))
				}
			}
		})
	}
}

func TestV1AnyVersionAnswersBoth(t *testing.T) {
	any := func(version int, aggr bool) func(pa, pb *sa.Peer) {
		return func(pa, pb *sa.Peer) {
			v1(pa, pb)
			pa.Version, pb.Version = version, 0
			pa.Aggressive, pb.Aggressive = aggr, aggr
		}
	}
	for version := 1; version <= 2; version++ {
		for _, aggr := range []bool{false, true} {
			w, a, b := pairOf(t, any(version, aggr))
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			if got := b.view()[0].IKE.Version; got != version {
				t.Errorf("the responder speaks IKEv%d with an initiator of IKEv%d", got, version)
			}
		}
	}
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { v1(pa, pb); pa.Version, pb.Version = 0, 0 })
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if got := a.view()[0].IKE.Version; got != 2 {
		t.Errorf("two that speak both agree on IKEv%d", got)
	}
}

// manyPairs has 3 local and 4 remote subnets.
func manyPairs(pa, pb *sa.Peer) {
	x, y := selectors("10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24"), selectors("10.2.0.0/24", "10.2.1.0/24", "10.2.2.0/24", "10.2.3.0/24")
	pa.Children[0].Local, pa.Children[0].Remote = x, y
	pb.Children[0].Local, pb.Children[0].Remote = y, x
	pairwise(pa)
	pairwise(pb)
}

func TestV1ManyPairsOfSubnets(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { change(pa, pb); manyPairs(pa, pb) })
		w.run(2 * time.Second)
		wantPairs(t, a, b, 12)
		wantIKE(t, a, b, 1)
		w.run(30 * time.Hour) // long enough to rekey everything
		for _, c := range a.view()[0].Children {
			if !c.Up {
				t.Errorf("%s: %s", c.Name, c.Why)
			}
		}
	})
}

func TestV1OneRefusedPairDoesNotStopTheOthers(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silently=%v", silent), func(t *testing.T) {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				v1(pa, pb)
				manyPairs(pa, pb)
				pb.Children = append(pb.Children[:5:5], pb.Children[6:]...) // 11 are left
			})
			w.filter = func(d *ipsec.Datagram) bool { // the refusal is lost, as if the peer gave none
				h, _ := wire.ParseHeader(d.Data)
				return !silent || h.Exchange != wire.ExchangeInfo1 || d.Local.Addr() != a.addr
			}
			w.run(40 * time.Second)
			if len(a.out) != 11 || len(b.out) != 11 {
				t.Errorf("%d and %d Child SAs", len(a.out), len(b.out))
			}
			refused := 0
			for _, c := range a.view()[0].Children {
				if c.Up {
					continue
				}
				refused++
				want := "INVALID-ID-INFORMATION"
				if silent {
					want = "no answer to a quick mode"
				}
				if !strings.Contains(c.Why, want) || !strings.Contains(c.Why, "10.1.") {
					t.Errorf("%s says %q", c.Name, c.Why)
				}
			}
			if refused != 1 {
				t.Errorf("%d pairs are not up", refused)
			}
			w.run(10 * time.Minute)
			w.filter = nil
			w.run(time.Minute)
			wantPairs(t, a, b, 11)
		})
	}
}

// One end speaks either version and has a list; the other asks for one pair at a time.
func TestV1ListIsAskedForPairByPair(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) { v1(pa, pb); twoByTwo(pa, pb) })
	w.run(20 * time.Second)
	wantPairs(t, a, b, 4)
	if !a.view()[0].Children[0].Up || !b.view()[0].Children[0].Up {
		t.Error("not up")
	}
}

func TestV1EverythingIsASelector(t *testing.T) {
	w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
		v1(pa, pb)
		for _, c := range []*sa.Child{pa.Children[0], pb.Children[0]} {
			c.Local, c.Remote = selectors("0.0.0.0/0"), selectors("0.0.0.0/0")
		}
	})
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	w, a, b = pairOf(t, func(pa, pb *sa.Peer) {
		v1(pa, pb)
		pa.Children[0].Local, pa.Children[0].Remote = selectors("fd01::/48"), selectors("fd02::7/128")
		pb.Children[0].Local, pb.Children[0].Remote = selectors("fd02::/16"), selectors("::/0") // covers it
	})
	w.run(time.Second)
	wantPairs(t, a, b, 1)
}

func TestV1ConnectionsShareOnePhase1(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) { shared(pa, pb); change(pa, pb) })
		w.run(5 * time.Second)
		wantPairs(t, a, b, 2)
		wantIKE(t, a, b, 1)
		a.Do(w.now, sa.Lower{Tunnel: "a"})
		w.run(5 * time.Second)
		wantPairs(t, a, b, 1)
		wantIKE(t, a, b, 1)
	})
}

// The commit bit of a peer is neither waited for nor an error.
func TestV1CommitBitIsTolerated(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		w, a, b := pairOf(t, change)
		set := 0
		w.filter = func(d *ipsec.Datagram) bool {
			if h, _ := wire.ParseHeader(d.Data); h.Exchange == wire.ExchangeQuick {
				d.Data[19] |= byte(wire.FlagCommit)
				set++
			}
			return true
		}
		w.run(5 * time.Second)
		wantPairs(t, a, b, 1)
		if set < 3 {
			t.Errorf("%d messages had the commit bit", set)
		}
	})
}
