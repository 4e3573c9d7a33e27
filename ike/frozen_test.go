package ike

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// reread is peers as another process reads them from the same configuration.
func reread(ps []*sa.Peer) []*sa.Peer {
	var out []*sa.Peer
	for _, p := range ps {
		q := *p
		q.Children = nil
		for _, c := range p.Children {
			d := *c
			q.Children = append(q.Children, &d)
		}
		out = append(out, &q)
	}
	return out
}

// thaw freezes an end, and goes on with what is thawed. change, if not nil, is done to the configuration meanwhile.
func (n *end) thaw(change func(p *sa.Peer)) Frozen {
	t := n.w.t
	t.Helper()
	n.drain()
	var ps []*sa.Peer
	for _, p := range n.inOrder() {
		given := *p.given
		given.Children = nil
		for _, c := range p.children {
			given.Children = append(given.Children, c.given)
		}
		ps = append(ps, &given)
	}
	old, f := n.Endpoint, n.Endpoint.Freeze()
	wantInert(t, n, old)
	ps = reread(ps)
	if change != nil {
		for _, p := range ps {
			change(p)
		}
	}
	e, err := Thaw(n.cfg, n.w.now, ps, f)
	if err != nil {
		t.Fatalf("%v: %v", n.addr, err)
	}
	n.Endpoint = e
	n.mirror = newMirror()
	n.mirror.thawed = true
	return f
}

// wantInert checks that a frozen Endpoint neither says nor does anything.
func wantInert(t testing.TB, n *end, e *Endpoint) {
	t.Helper()
	if !e.Deadline().IsZero() || e.Next() != nil || !e.Idle() {
		t.Errorf("%v: a frozen Endpoint wants to do something", n.addr)
	}
	for _, d := range n.w.wire {
		d.Data = slices.Clone(d.Data)
		e.Handle(n.w.now, d)
		if a := e.Next(); a != nil {
			t.Errorf("%v: a frozen Endpoint does %T", n.addr, a)
		}
	}
}

// story is a series of exchanges between two ends, with the number of Child SAs at its end.
type story struct {
	name   string
	change func(pa, pb *sa.Peer)
	pairs  int
	do     func(w *world, a, b *end)
}

// stories are the exchanges of both versions.
func stories() []story {
	var out []story
	for _, v := range []struct {
		name   string
		change func(pa, pb *sa.Peer)
	}{{"IKEv2", func(_, _ *sa.Peer) {}}, {"main mode", v1}, {"aggressive mode", aggressive}} {
		settings := func(pa, pb *sa.Peer) {
			v.change(pa, pb)
			pa.DPD.Interval, pb.DPD.Interval = 30*time.Second, 30*time.Second
		}
		both := func(pa, pb *sa.Peer) {
			shared(pa, pb)
			settings(pa, pb)
		}
		out = append(
			out,
			story{v.name + ": connect", settings, 1, nil},
			story{v.name + ": a second child", both, 2, nil},
			story{v.name + ": both begin at once", func(pa, pb *sa.Peer) {
				settings(pa, pb)
				pb.Children[0].Initiate = true
			}, 1, nil},
			story{v.name + ": rekey of a child", settings, 1, func(w *world, a, b *end) { a.Do(w.now, rekeyChild("a")) }},
			story{v.name + ": rekey of a child by the responder", settings, 1, func(w *world, a, b *end) { b.Do(w.now, rekeyChild("b")) }},
			story{v.name + ": rekey of the IKE SA", settings, 1, func(w *world, a, b *end) { a.Do(w.now, rekeyIKE("a")) }},
			story{v.name + ": rekey of the IKE SA by the responder", settings, 1, func(w *world, a, b *end) { b.Do(w.now, rekeyIKE("b")) }},
			story{v.name + ": rekeys of everything by both", settings, 1, func(w *world, a, b *end) {
				a.Do(w.now, rekeyChild("a"))
				b.Do(w.now, rekeyIKE("b"))
				a.Do(w.now, rekeyIKE("a"))
				b.Do(w.now, rekeyChild("b"))
			}},
			story{v.name + ": liveness", settings, 1, func(w *world, a, b *end) { w.run(2 * time.Minute) }},
			story{v.name + ": a child is deleted", both, 1, func(w *world, a, b *end) { a.Do(w.now, sa.Lower{Tunnel: "a2"}) }},
			story{v.name + ": the IKE SA is deleted", settings, 0, func(w *world, a, b *end) { a.Do(w.now, sa.Lower{Tunnel: "a"}) }},
			story{v.name + ": a shutdown", settings, 0, func(w *world, a, b *end) { a.Do(w.now, sa.Shutdown{}) }},
		)
	}
	return out
}

// tell plays a story in which an end is frozen and thawed before the n-th datagram; n < 0: never. It returns the headers of
// what was sent, and how many datagrams there were.
func (s *story) tell(t testing.TB, which, n int) ([]wire.Header, int) {
	w, a, b := pairOf(t, s.change)
	seen := 0
	w.filter = func(*ipsec.Datagram) bool {
		if seen == n {
			w.order[which].thaw(nil)
		}
		seen++
		return true
	}
	w.run(5 * time.Second)
	if s.do != nil {
		s.do(w, a, b)
	}
	w.run(30 * time.Second)
	wantPairs(t, a, b, s.pairs)
	if s.pairs > 0 {
		wantIKE(t, a, b, 1)
	} else {
		w.run(time.Minute)
		wantIKE(t, a, b, 0)
	}
	return w.sent, seen
}

// TestFrozenAndThawedAtEveryStep: either end is replaced by another process in the middle of every exchange, and the
// other end does not notice: the messages are the same as without that.
func TestFrozenAndThawedAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			sent, steps := s.tell(t, 0, -1)
			if steps < 4 {
				t.Fatalf("%d datagrams", steps)
			}
			for n := range steps {
				for which := range 2 {
					got, _ := s.tell(t, which, n)
					if !slices.Equal(got, sent) {
						t.Errorf("%d messages, and %d without", len(got), len(sent))
					}
					if t.Failed() {
						t.Fatalf("end %d is thawed before datagram %d", which, n)
					}
				}
			}
		})
	}
}

// TestThawAfterAChangeOfTheConfiguration: it is as if the change had come without a restart.
func TestThawAfterAChangeOfTheConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *sa.Peer)
		same   bool // the IKE SA stays
		pairs  int
	}{
		"none":    {nil, true, 2},
		"renamed": {func(p *sa.Peer) { p.Name = "renamed" }, true, 2},
		"child":   {func(p *sa.Peer) { p.Children[1].Lifetime.Time = 2 * time.Hour }, true, 2},
		"removed": {func(p *sa.Peer) { p.Children = p.Children[:1] }, true, 1},
		"key":     {func(p *sa.Peer) { p.PSK = ipsec.Secret("new") }, false, 0},
	} {
		for version, v := range map[string]func(pa, pb *sa.Peer){"IKEv2": func(_, _ *sa.Peer) {}, "IKEv1": v1} {
			t.Run(name+" "+version, func(t *testing.T) {
				w, a, b := pairOf(t, func(pa, pb *sa.Peer) { shared(pa, pb); v(pa, pb) })
				w.run(5 * time.Second)
				wantPairs(t, a, b, 2)
				ike := a.ikeOf().SPIi
				a.thaw(c.change)
				w.run(5 * time.Second)
				wantPairs(t, a, b, c.pairs)
				if c.same && (len(a.table.bySPI) != 1 || a.ikeOf().SPIi != ike) {
					t.Error("the IKE SA was replaced")
				}
			})
		}
	}
}

// TestThawKeepsWhatTheOperatorAskedFor, the reasons and the backoff.
func TestThawKeepsWhatTheOperatorAskedFor(t *testing.T) {
	w, a, b := pairOf(t, shared)
	w.run(5 * time.Second)
	a.Do(w.now, sa.Lower{Tunnel: "a2"})
	w.run(5 * time.Second)
	a.thaw(nil)
	w.run(time.Minute)
	wantPairs(t, a, b, 1)
	if st, ok := a.Tunnel("a2"); !ok || !st.Children[0].Held {
		t.Error("the tunnel is not held any more")
	}
	b.dead = true
	w.run(4 * time.Minute)
	before, at := a.Status()[0], a.Deadline()
	a.thaw(nil)
	if after := a.Status()[0]; !after.Why.Equal(before.Why) || !after.Since.Equal(before.Since) || !a.Deadline().Equal(at) {
		t.Errorf("%v since %v, next %v; was %v since %v, next %v", after.Why, after.Since, a.Deadline(), before.Why, before.Since, at)
	}
}

// TestThawKeepsFirstMessages: cookies, pending main modes and half-open IKE SAs.
func TestThawKeepsFirstMessages(t *testing.T) {
	w, a, b := pairOf(t, v1)
	beginMains(w, a, b, 100, 0)
	b.thaw(nil)
	if len(b.pending.byKey) != 100 || b.pending.count(a.addr) != 100 {
		t.Errorf("%d pending main modes", len(b.pending.byKey))
	}
	w.run(pendingTime + time.Second)
	wantPairs(t, a, b, 1)

	w, a, b = pairOf(t, nil)
	b.cfg.CookieThreshold = 0
	w.filter = func(d *ipsec.Datagram) bool {
		if d.Local.Addr() == b.addr && len(w.got) > 1 { // the request with the cookie
			b.thaw(nil)
			b.cfg.CookieThreshold = 0
		}
		return true
	}
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	if n := b.Counters().CookiesSent; n != 1 {
		t.Errorf("%d cookies", n)
	}
}

func TestThawRefusesWhatDoesNotFit(t *testing.T) {
	w, a, _ := pairOf(t, nil)
	w.run(time.Second)
	for name, spoil := range map[string]func(f *Frozen){
		"machine of a peer": func(f *Frozen) { f.Peers[0].Machines[0]++ },
		"established":       func(f *Frozen) { f.Established[0]++ },
		"children":          func(f *Frozen) { f.Peers[0].Children = nil },
		"peer of a machine": func(f *Frozen) { f.Peers = nil },
	} {
		f := a.thaw(nil)
		spoil(&f)
		if _, err := Thaw(a.cfg, w.now, nil, f); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFrozenPrintsNoSecret under any verb, nor as JSON.
func TestFrozenPrintsNoSecret(t *testing.T) {
	for _, s := range stories() {
		w, a, b := pairOf(t, s.change)
		seen := 0
		w.filter = func(*ipsec.Datagram) bool {
			for _, n := range w.order {
				f := n.thaw(nil)
				j, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				texts := []string{string(j)}
				for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%q"} {
					texts = append(texts, fmt.Sprintf(verb, f))
				}
				for _, secret := range secretsOf(reflect.ValueOf(f), nil) {
					for _, text := range texts {
						for _, form := range []string{
							string(secret), fmt.Sprint([]byte(secret))[1:], fmt.Sprintf("%#v", []byte(secret))[7:],
							hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret),
						} {
							if strings.Contains(text, strings.TrimRight(form, "]}=")) {
								t.Fatalf("%s: a secret of %d bytes is printed", s.name, len(secret))
							}
						}
					}
				}
				seen++
			}
			return true
		}
		w.run(time.Second)
		w.filter = nil
		_, _ = a, b
		if seen < 4 {
			t.Errorf("%s: frozen %d times", s.name, seen)
		}
	}
}

// secretsOf are the Secrets in a value.
func secretsOf(v reflect.Value, out []ipsec.Secret) []ipsec.Secret {
	if s, ok := v.Interface().(ipsec.Secret); ok {
		if len(s) >= 8 && slices.Max(s) > 0 { // the cookies' are zero before the first
			out = append(out, s)
		}
		return out
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			out = secretsOf(v.Elem(), out)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			out = secretsOf(v.Index(i), out)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out = secretsOf(v.Field(i), out)
			}
		}
	}
	return out
}

// TestThawedEndHearsESP: what ESP reports reaches the IKE SA that has the Child SA.
func TestThawedEndHearsESP(t *testing.T) {
	for name, change := range map[string]func(pa, pb *sa.Peer){"IKEv2": nil, "IKEv1": v1} {
		w, a, b := pairOf(t, change)
		w.run(5 * time.Second)
		old := a.newest[0].SPIIn
		a.thaw(nil)
		a.Do(w.now, sa.Expired{SPIIn: old, Limit: ipsec.LimitBytes})
		w.run(10 * time.Second)
		wantPairs(t, a, b, 1)
		if a.newest[0].SPIIn == old {
			t.Errorf("%s: no rekey", name)
		}
	}
}

// TestThawedEndKnowsRetransmissions of a first message that it has answered.
func TestThawedEndKnowsRetransmissions(t *testing.T) {
	for name, change := range map[string]func(pa, pb *sa.Peer){"IKEv2": nil, "IKEv1": aggressive} {
		w, a, b := pairOf(t, change)
		w.filter = func(d *ipsec.Datagram) bool { return d.Local.Addr() == b.addr } // no answer arrives
		w.run(100 * time.Millisecond)
		b.thaw(nil)
		w.run(5 * time.Second)
		if len(w.got) < 3 || len(b.table.bySPI) != 1 {
			t.Errorf("%s: %d IKE SAs after %d times the same first message", name, len(b.table.bySPI), len(w.got))
		}
		w.filter = nil
		w.run(time.Minute)
		wantPairs(t, a, b, 1)
	}
}

// TestMainModeOutlivesARestartAtEachMessage: what is thawed is frozen again.
func TestMainModeOutlivesARestartAtEachMessage(t *testing.T) {
	w, a, b := pairOf(t, v1)
	w.filter = func(*ipsec.Datagram) bool {
		a.thaw(nil)
		b.thaw(nil)
		return true
	}
	w.run(time.Second)
	wantPairs(t, a, b, 1)
	wantIKE(t, a, b, 1)
}

// TestV1MainModeWhoseKeyIsGone: the configuration has changed before message 3 or 5, and the world was frozen after that.
func TestV1MainModeWhoseKeyIsGone(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		w, a, b := pairOf(t, v1)
		var spi uint64 // of the responder
		w.filter = func(d *ipsec.Datagram) bool {
			h, c, _ := wire.Parse1(d.Data)
			if h.Exchange != wire.ExchangeMain || d.Local.Addr() != b.addr || h.SPIr == 0 || spi != 0 || encrypted != (h.Flags&wire.FlagEncrypted != 0) {
				return true
			}
			spi = h.SPIr
			if !encrypted { // a bad message 3 makes an ISAKMP SA, which waits for a good one
				bad := *d
				bad.Data = bytes.Replace(d.Data, c.Body(c.Index(wire.TypeKE1)), make([]byte, len(c.Body(c.Index(wire.TypeKE1)))), 1)
				b.Handle(w.now, bad)
				b.drain()
				if b.table.bySPI[spi] == nil {
					t.Error("no ISAKMP SA waits for message 3")
				}
			}
			b.thaw(func(p *sa.Peer) { p.PSK = ipsec.Secret("another") })
			b.thaw(nil)
			return true
		}
		w.run(time.Second)
		if spi == 0 {
			t.Fatal("the message did not come")
		}
		wantPairs(t, a, b, 0)
		if b.table.bySPI[spi] != nil {
			t.Error("the responder goes on with an ISAKMP SA of a key that it has no more")
		}
	}
}
