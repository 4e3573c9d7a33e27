package ikev1

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

var asked = diag.Cause{Code: diag.OperatorAsked}

// freeze is a Freeze of all that n has.
func (n *host) freeze() Frozen {
	return Freeze(n.machines, func(p *sa.Peer) string {
		if p == n.peer {
			return "the peer"
		}
		return ""
	})
}

func (n *host) thaw(f Frozen) []sa.Machine {
	n.w.t.Helper()
	ms, err := Thaw(n.env, f, func(key string) *sa.Peer {
		if key != "the peer" {
			n.w.t.Fatalf("asked for the peer %q", key)
		}
		return n.peer
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return ms
}

// rest puts a thawed copy in the place of every SA of n, and returns what was frozen. The
// originals do nothing any more.
func (n *host) rest() Frozen {
	n.w.t.Helper()
	originals := slices.Clone(n.machines)
	f := n.freeze()
	n.machines = n.thaw(f)
	if again := n.freeze(); !reflect.DeepEqual(f, again) {
		n.w.t.Fatalf("%v: frozen, thawed and frozen again it is another:\n%+v\n%+v", n.addr, f, again)
	}
	n.machines = n.thaw(f)
	acts := n.acts
	for _, m := range originals {
		s := m.(*SA)
		if !s.Deadline().IsZero() || s.Children() != nil {
			n.w.t.Fatalf("%v: a frozen SA is not at an end", n.addr)
		}
		for _, d := range n.w.wire {
			s.Handle(n.w.now, d)
		}
		for spi := range n.in {
			s.SeenInbound(n.w.now, spi)
			s.Expired(n.w.now, spi, ipsec.LimitBytes)
			s.Moved(n.w.now, spi, outside4500)
		}
		s.Probe(n.w.now)
		s.RekeyIKE(n.w.now, asked)
		for _, c := range n.peer.Children {
			s.Create(n.w.now, c, c.Local, c.Remote)
			s.RekeyChildren(n.w.now, c, asked)
			s.DeleteChildren(n.w.now, c)
		}
		s.Advance(n.w.now.Add(time.Hour))
		s.Drop(n.w.now, asked)
		s.Close(n.w.now, asked)
		if s.keys != nil {
			for _, k := range []ipsec.Secret{s.keys.skeyid, s.keys.d, s.keys.a, s.keys.e, s.keys.key} {
				if slices.ContainsFunc(k, func(b byte) bool { return b != 0 }) {
					n.w.t.Fatalf("%v: a frozen SA still has its keys", n.addr)
				}
			}
		}
	}
	if n.acts != acts {
		n.w.t.Fatalf("%v: a frozen SA still acts: %q", n.addr, n.w.sent[len(n.w.sent)-1])
	}
	return f
}

var outside4500 = netip.AddrPortFrom(outside, 4500)

// scripts are all exchanges. Each is done after phase 1 and a quick mode for the child "one",
// and ends with so many Child SAs at each end.
var scripts = []struct {
	name   string
	before func(w *world)
	do     func(w *world)
	pairs  int
}{
	{name: "phase 1 and a quick mode", pairs: 1},
	{name: "each datagram is lost at first", pairs: 1, before: func(w *world) {
		came := map[string]bool{}
		w.lose = func(d *ipsec.Datagram) bool {
			again := came[string(d.Data)]
			came[string(d.Data)] = true
			return !again
		}
	}, do: func(w *world) {
		w.run(20 * time.Second)
		w.a.ask("one")
		w.run(20 * time.Second)
		w.lose = func(*ipsec.Datagram) bool { return false }
	}},
	{name: "another child", pairs: 2, do: func(w *world) { w.a.ask("two") }},
	{name: "another child, asked for by the responder", pairs: 2, do: func(w *world) { w.b.ask("two") }},
	{name: "children that wait for each other", pairs: 2, do: func(w *world) {
		w.a.ask("two")
		w.a.main().RekeyChildren(w.now, w.a.peer.Children[0], asked)
	}},
	{name: "a rekeyed child", pairs: 1, do: func(w *world) { w.a.main().RekeyChildren(w.now, w.a.peer.Children[0], asked) }},
	{name: "a child rekeyed by the responder", pairs: 1, do: func(w *world) { w.b.main().RekeyChildren(w.now, w.b.peer.Children[0], asked) }},
	{name: "a child rekeyed by both ends", pairs: 1, do: func(w *world) {
		w.a.main().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.main().RekeyChildren(w.now, w.b.peer.Children[0], asked)
	}},
	{name: "a rekeyed child, with message 3 lost", pairs: 1, do: func(w *world) {
		n := 0
		w.lose = func(d *ipsec.Datagram) bool {
			h, _ := wire.ParseHeader(d.Data)
			if h.Exchange == wire.ExchangeQuick {
				n++
			}
			return n == 3 || n == 5
		}
		w.a.main().RekeyChildren(w.now, w.a.peer.Children[0], asked)
	}},
	{name: "a rekeyed ISAKMP SA", pairs: 1, do: func(w *world) { w.a.main().RekeyIKE(w.now, asked) }},
	{name: "an ISAKMP SA rekeyed by the responder", pairs: 1, do: func(w *world) { w.b.main().RekeyIKE(w.now, asked) }},
	{name: "an ISAKMP SA rekeyed by both ends, with a child", pairs: 1, do: func(w *world) {
		w.a.main().RekeyIKE(w.now, asked)
		w.a.main().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.b.main().RekeyIKE(w.now, asked)
	}},
	{name: "lifetimes", pairs: 1, do: func(w *world) { w.run(2 * time.Hour) }},
	{name: "liveness checks", pairs: 1, do: func(w *world) { w.run(3 * time.Minute) }},
	{name: "liveness checks that are lost for a while", pairs: 1, do: func(w *world) {
		until := w.now.Add(50 * time.Second)
		w.lose = func(*ipsec.Datagram) bool { return w.now.Before(until) }
		w.run(2 * time.Minute)
	}},
	{name: "a peer that dies", pairs: 0, do: func(w *world) {
		w.lose = func(*ipsec.Datagram) bool { return true }
		w.run(5 * time.Minute)
	}},
	{name: "a deleted child", pairs: 0, do: func(w *world) { w.a.main().DeleteChildren(w.now, w.a.peer.Children[0]) }},
	{name: "a deleted ISAKMP SA", pairs: 0, do: func(w *world) { w.a.main().Close(w.now, asked) }},
	{name: "an ISAKMP SA that its Child SAs outlive, and another", pairs: 1, do: func(w *world) {
		w.a.main().tellEnd()
		w.a.main().leave(w.now, asked)
		w.run(10 * time.Second)
		if _, err := Initiate(w.a.env, w.now, w.a.peer, sa.FirstPath(w.a.addr, w.b.addr, sa.PortIKE), 0); err != nil {
			w.t.Fatal(err)
		}
	}},
	{name: "a child that the peer deletes while we rekey it", pairs: 1, do: func(w *world) {
		w.lose = func(d *ipsec.Datagram) bool {
			h, _ := wire.ParseHeader(d.Data)
			return h.Exchange == wire.ExchangeQuick
		}
		w.a.main().RekeyChildren(w.now, w.a.peer.Children[0], asked)
		w.run(time.Second)
		w.b.main().DeleteChildren(w.now, w.b.peer.Children[0])
		w.run(time.Second)
		w.lose = func(*ipsec.Datagram) bool { return false }
	}},
	{name: "a child that the configuration loses while we ask for it", pairs: 1, do: func(w *world) {
		until := w.now.Add(time.Second)
		w.lose = func(*ipsec.Datagram) bool { return w.now.Before(until) }
		w.a.ask("two")
		w.run(time.Millisecond)
		lost, next := w.a.peer.Children[1], *w.a.peer
		next.Children = next.Children[:1]
		w.a.peer = &next
		w.a.main().Adopt(w.now, w.a.peer)
		w.a.main().DeleteChildren(w.now, lost)
	}},
	{name: "a refused child", pairs: 1, before: func(w *world) {
		w.b.peer.Children[1].Local = w.b.peer.Children[1].Local[:0]
	}, do: func(w *world) { w.a.ask("two") }},
	{name: "a NAT that appears and moves", pairs: 1, before: func(w *world) { w.nat = 20000 }, do: func(w *world) {
		w.nat = 30000
		w.run(time.Minute)
	}},
	{name: "a wrong key", pairs: 0, before: func(w *world) { w.b.peer.PSK = ipsec.Secret("another") }, do: func(w *world) { w.run(2 * time.Minute) }},
}

// seen is in which states the SAs of a test were frozen.
type seen map[string]int

func (s seen) note(f Frozen) {
	for _, m := range f.SAs {
		role := "responder"
		if m.Initiator {
			role = "initiator"
		}
		s[role+" "+m.State.String()]++
		all := slices.Clone(m.Exchanges)
		for _, p1 := range m.Phase1 {
			all = append(all, p1.Exchange)
			if p1.Predecessor != 0 {
				s["predecessor"]++
			}
		}
		for _, x := range all {
			s[x.Step.String()]++
			for _, q := range x.Asks {
				if q.Rival != 0 {
					s["rival"]++
				}
				if q.Old != 0 {
					s["rekeyed child"]++
				}
				if q.Child.Gone {
					s["lost child"]++
				}
			}
		}
		for what, is := range map[string]bool{
			"rekeying": m.Rekeying != 0, "liveness": !m.Liveness.Retransmit.Until.IsZero(), "unacked": m.Unacked != nil, "unknown peer": !m.Peer.Known,
		} {
			if is {
				s[what]++
			}
		}
	}
	for _, fam := range f.Families {
		if len(fam.Queue) > 0 {
			s["queue"]++
		}
		if len(fam.Members) > 1 {
			s["members"]++
		}
		for _, c := range fam.Children {
			for what, is := range map[string]bool{
				"successor": c.Successor != 0, "held": !c.HeldUntil.IsZero(), "unconfirmed child": !c.ConfirmBy.IsZero(), "late outbound": !c.OutAt.IsZero(),
				"removed": c.Removed, "gone": c.Gone,
			} {
				if is {
					s[what]++
				}
			}
		}
	}
}

// play does a script. event is called before each datagram that arrives and whenever time goes on.
func play(t *testing.T, aggr bool, n int, event func(w *world)) *world {
	t.Helper()
	w := newWorld(t, func(a, b *sa.Peer) {
		a.Aggressive, b.Aggressive = aggr, aggr
	})
	script := scripts[n]
	if script.before != nil {
		script.before(w)
	}
	w.event = func() { event(w) }
	w.begin()
	if script.do != nil {
		script.do(w)
	}
	w.run(70 * time.Second)
	w.wantPairs(script.pairs)
	return w
}

// A world whose ends are frozen and thawed before each event sends the same bytes and tells its
// Owners the same as a world that was left alone: at every step, in both roles.
func TestThawedWorldGoesOnAsIfNothingHadHappened(t *testing.T) {
	states := seen{}
	for _, aggr := range []bool{false, true} {
		for n, script := range scripts {
			t.Run(fmt.Sprintf("aggressive=%v/%s", aggr, script.name), func(t *testing.T) {
				events := 0
				left := play(t, aggr, n, func(*world) { events++ })
				same := func(how string, w *world) {
					t.Helper()
					for i := range max(len(left.sent), len(w.sent)) {
						if i >= len(left.sent) || i >= len(w.sent) || left.sent[i] != w.sent[i] {
							t.Fatalf("%s: parts at %d of %d and %d:\n%.200q\n%.200q", how, i, len(left.sent), len(w.sent), left.sent[i:min(i+1, len(left.sent))], w.sent[i:min(i+1, len(w.sent))])
						}
					}
				}
				same("frozen at every event", play(t, aggr, n, func(w *world) {
					states.note(w.a.rest())
					states.note(w.b.rest())
				}))
				for k := 0; k < events; k += 1 + events/40 {
					at := 0
					same(fmt.Sprintf("frozen at event %d", k), play(t, aggr, n, func(w *world) {
						if at == k {
							w.a.rest()
							w.b.rest()
						}
						at++
					}))
				}
			})
		}
	}
	for _, what := range []string{
		"none", "mm2", "mm4", "mm5", "mm6", "ag2", "ag3", "qm2", "qm3",
		"initiator connecting", "responder connecting", "initiator established", "responder established", "initiator rekeyed", "responder rekeyed",
		"initiator outlived by its Child SAs", "responder outlived by its Child SAs",
		"predecessor", "rekeying", "rival", "rekeyed child", "liveness", "unacked", "unknown peer", "queue", "members",
		"successor", "held", "unconfirmed child", "late outbound", "removed", "gone", "lost child",
	} {
		if states[what] == 0 {
			t.Errorf("no SA was frozen in the state %q", what)
		}
	}
	t.Logf("frozen in %v", states)
}

// A Frozen is plain data: exported fields all the way down, no function, interface or pointer.
func TestFrozenIsPlainData(t *testing.T) {
	leaves := []reflect.Type{reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]()}
	var walk func(path string, ty reflect.Type)
	walk = func(path string, ty reflect.Type) {
		if slices.Contains(leaves, ty) {
			return
		}
		switch ty.Kind() {
		case reflect.Struct:
			for i := range ty.NumField() {
				f := ty.Field(i)
				if !f.IsExported() {
					t.Errorf("%s.%s is not exported", path, f.Name)
				}
				if path != "Frozen.SAs.Why" && !strings.HasSuffix(path, ".Because") { // a Cause has Causes
					walk(path+"."+f.Name, f.Type)
				}
			}
		case reflect.Slice, reflect.Array:
			walk(path, ty.Elem())
		case reflect.Pointer, reflect.Func, reflect.Interface, reflect.Chan, reflect.Map, reflect.UnsafePointer:
			t.Errorf("%s is a %v", path, ty.Kind())
		}
	}
	walk("Frozen", reflect.TypeFor[Frozen]())
}

// No print of a Frozen shows a secret.
func TestFrozenShowsNoSecret(t *testing.T) {
	w := newWorld(t, nil)
	n := 0
	w.lose = func(*ipsec.Datagram) bool { n++; return n == 4 } // message 4: both have a private value, and b has keys
	w.a.peer.PSK = ipsec.Secret("not a real key")
	if _, err := Initiate(w.a.env, w.now, w.a.peer, sa.FirstPath(w.a.addr, w.b.addr, sa.PortIKE), 0); err != nil {
		t.Fatal(err)
	}
	w.run(100 * time.Millisecond)
	check := func(f Frozen, secrets ...ipsec.Secret) {
		t.Helper()
		j, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%v %+v %#v %s", f, f, f, j)
		for _, s := range secrets {
			if len(s) < 8 {
				t.Fatalf("a secret of %d bytes", len(s))
			}
			raw := []byte(s)
			encoded, _ := json.Marshal(raw)
			for _, leak := range []string{fmt.Sprint(raw)[1:20], fmt.Sprintf("%x", raw), string(encoded[1:10]), strings.Trim(fmt.Sprintf("%#v", raw), "[]byte{}")[:20]} {
				if strings.Contains(text, leak) {
					t.Errorf("a secret is printed: %s", leak)
				}
			}
		}
	}
	fa, fb := w.a.freeze(), w.b.freeze()
	check(fa, fa.SAs[0].Phase1[0].DH.Private)
	k := fb.SAs[0].Keys
	check(fb, k.SKEYID, k.D, k.A, k.E, k.Cipher)

	w = newWorld(t, nil)
	w.begin()
	fa = w.a.freeze()
	c := fa.Families[0].Children[0].SA
	check(fa, c.In.Encr, c.In.Integ, c.Out.Encr, c.Out.Integ)
}

// Thaw refuses inconsistent state.
func TestThawRefusesWhatIsIncomplete(t *testing.T) {
	frozen := func() Frozen {
		w := newWorld(t, nil)
		w.begin()
		w.lose = func(*ipsec.Datagram) bool { return true }
		w.a.ask("two")
		return w.a.freeze()
	}
	for name, spoil := range map[string]func(f *Frozen){
		"an unknown step":            func(f *Frozen) { f.SAs[0].Exchanges[1].Step = steps },
		"an unknown ending":          func(f *Frozen) { f.SAs[0].Exchanges[1].Then = endings },
		"an exchange for nothing":    func(f *Frozen) { f.SAs[0].Exchanges[1].Asks = nil },
		"a step for another end":     func(f *Frozen) { f.SAs[0].Exchanges[1].Step = qm3 },
		"no such exchange":           func(f *Frozen) { f.SAs[0].Asking = 9 },
		"no such family":             func(f *Frozen) { f.SAs[0].Family = 1 },
		"no such Child SA":           func(f *Frozen) { f.Families[0].Children[0].Successor = 7 },
		"a member that is not there": func(f *Frozen) { f.Families[0].Members = append(f.Families[0].Members, 77) },
		"nobody maintains":           func(f *Frozen) { f.Families[0].Current = 0 },
		"two of one cookie":          func(f *Frozen) { f.SAs = append(f.SAs, f.SAs[0]) },
		"an unknown peer":            func(f *Frozen) { f.SAs[0].Peer.Key = "nobody" },
		"an unknown NAT traversal":   func(f *Frozen) { f.SAs[0].NATT = "RFC 0" },
		"another PRF":                func(f *Frozen) { f.SAs[0].Suite.PRF.ID = 999 },
		"a short key":                func(f *Frozen) { f.SAs[0].Keys.Cipher = f.SAs[0].Keys.Cipher[:3] },
		"a Child SA for no child":    func(f *Frozen) { f.Families[0].Children[0].Child = sa.FrozenChild{} },
		"a quick mode for no child":  func(f *Frozen) { f.SAs[0].Exchanges[1].Asks[0].Child = sa.FrozenChild{} },
		"a short private value": func(f *Frozen) {
			f.SAs[0].Exchanges[1].Asks[0].DH.Private = ipsec.Secret{1}
		},
	} {
		f := frozen()
		w := newWorld(t, nil)
		peer := func(key string) *sa.Peer {
			if key == "the peer" {
				return w.a.peer
			}
			return nil
		}
		if _, err := Thaw(w.a.env, f, peer); err != nil {
			t.Fatal(err)
		}
		f = frozen()
		spoil(&f)
		if _, err := Thaw(w.a.env, f, peer); err == nil {
			t.Errorf("%s: thawed all the same", name)
		}
	}
}

// Whoever adds a field to the state of an ISAKMP SA decides here whether it is frozen. What is not frozen
// is made again by Thaw, or may be lost.
func TestEveryFieldIsFrozenOrMadeAgain(t *testing.T) {
	for _, c := range []struct {
		of     reflect.Type
		frozen string
		not    string
	}{
		{
			reflect.TypeFor[SA](),
			"state since why initiator spiI spiR peer suite keys lastIV fam authedAt trip p1 exchanges asking ids peerSays unacked unackedRetx " +
				"path nat life monitor dpd probed spoke rekeying rekeyAt expireAt keepaliveAt reported",
			"env log reassembler measure",
		},
		{reflect.TypeFor[phase1](), "x candidates predecessor own dh gxi gxr ni nr sai idi refused", "s"},
		{reflect.TypeFor[exchange](), "kind id iv step asks answers lastHash sent retx repeats until then", ""},
		{reflect.TypeFor[quick](), "cfg local remote old rival began own spiIn dh ni idci idcr offered", "s x"},
		{reflect.TypeFor[answer](), "ni nr spi c", "s x"},
		{reflect.TypeFor[family](), "members current children queue quiet", ""},
		{
			reflect.TypeFor[child](),
			"cfg sa made out lowNonce asked successor gone stale failed softAt hardAt outAt heldUntil confirmBy deleteAt removeAt", "",
		},
		{reflect.TypeFor[keys](), "skeyid d a e key", "prf block"},
		{reflect.TypeFor[liveness](), "sent asked theirs knows last began strict retx", ""},
		{reflect.TypeFor[vendors](), "natt dpd frag vpngw", ""},
		{reflect.TypeFor[lifetime](), "time bytes", ""},
	} {
		known := append(strings.Fields(c.frozen), strings.Fields(c.not)...)
		for i := range c.of.NumField() {
			name := c.of.Field(i).Name
			n := slices.Index(known, name)
			if n < 0 {
				t.Errorf("%v.%s is neither frozen nor made again", c.of, name)
				continue
			}
			known = slices.Delete(known, n, n+1)
		}
		if len(known) > 0 {
			t.Errorf("%v has no %q", c.of, known)
		}
	}
}
