package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vpngw/ike"
	"vpngw/ike/ikev1"
	"vpngw/ike/ikev2"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// shot is a hostile message to one of a and b.
type shot struct {
	parcel
	keyed bool // who sends it has the peer's keys
	same  bool // a message on its way, as it is: what its receiver does is its own business, except a move
	inert bool // it must change nothing at all
}

// outcome is what is left when a story has come to its end.
type outcome struct {
	facts    [3][]string
	machines [3]int
	pairs    int
	others   bool
}

const (
	maxAnswers = 1 // to one message
	maxLines   = 2 // of the log, for one message
)

// play has a state get hostile messages, and the story go on. It returns what should not have happened.
func (st *state) play(seed uint64, shots []shot) (faults []string) {
	w := st.thaw(seed)
	defer func() {
		if r := recover(); r != nil {
			faults = append(w.faults, fmt.Sprintf("panic: %v", r))
		}
	}()
	keyed := slices.ContainsFunc(shots, func(s shot) bool { return s.keyed })
	if keyed {
		w.whole = false
	}
	for _, s := range shots {
		w.shoot(s, st)
	}
	if keyed {
		w.survive(st)
		return w.faults
	}
	got, want := w.settle(), st.undisturbed
	switch {
	case got.pairs != 1 || got.others:
		w.fault("%d pairs of Child SAs, others: %v", got.pairs, got.others)
	case got.machines != want.machines:
		w.fault("%d IKE SAs are left, want %d", got.machines, want.machines)
	case !slices.Equal(got.facts[2], want.facts[2]):
		w.fault("the bystander: %q, want %q", got.facts[2], want.facts[2])
	case st.calm:
		early := slices.ContainsFunc(shots, func(s shot) bool { return s.same })
		for i := range got.facts[:2] {
			if got, want := got.facts[i], want.facts[i]; early && !sameFacts(got, want, st.story.nat) || !early && !slices.Equal(got, want) {
				w.fault("%c: %q, want %q", 'a'+i, got, want)
			}
		}
	}
	return w.faults
}

// sameFacts reports whether the same has happened, in whatever order. Behind a NAT a message that is authentic and
// new may come from anywhere, so its copy makes the peer move, and the next message makes it move back.
func sameFacts(got, want []string, nat bool) bool {
	moves := func(s string) bool { return strings.HasPrefix(s, "PeerMoved") }
	rest := got
	if nat {
		rest = slices.DeleteFunc(slices.Clone(got), moves)
	}
	return slices.Equal(slices.Sorted(slices.Values(rest)), slices.Sorted(slices.Values(want))) && (len(got)-len(rest))%2 == 0
}

// shoot hands over one hostile message, and checks what its receiver does at once.
func (w *world) shoot(s shot, st *state) {
	n := w.at(s.Local.Addr())
	if n == nil || len(s.Data) > 65_507 {
		return
	}
	var before ike.Frozen
	if s.inert {
		before = n.refreeze()
		s.inert = !stale(before, s.Data)
	}
	lines := n.lines
	did := w.deliver(s.parcel)
	if s.keyed || s.same { // message 3 of aggressive mode goes out again before an answer, until the peer is heard
		maps.DeleteFunc(did.answers, func(h wire.Header, _ bool) bool { return h.Exchange == wire.ExchangeAggressive && len(did.answers) > 1 })
	}
	if s.keyed { // the peer may well cause the end of another IKE SA of its own, or that one begins
		to, _ := wire.ParseHeader(s.Data)
		maps.DeleteFunc(did.answers, func(h wire.Header, _ bool) bool { return h.SPIi != to.SPIi && len(did.answers) > 1 })
	}
	if len(did.answers) > maxAnswers {
		w.fault("%d answers to one message: %q", len(did.answers), did.exchanges())
	}
	if limit := maxLines; n.lines-lines > limit && !(s.same || s.keyed) || n.lines-lines > 2*limit {
		w.fault("%d lines of log for one message", n.lines-lines)
	}
	switch {
	case s.keyed:
	case did.moved && !(s.same && st.story.nat):
		w.fault("ESP has moved")
	case s.same:
	case st.whole && did.removed > 0:
		w.fault("%d Child SAs were removed", did.removed)
	}
	if s.inert && did.children+did.removed > 0 {
		w.fault("Child SAs were installed, held or removed")
	}
	if s.inert {
		if d := different(before, n.refreeze(), w.whole); d != "" {
			w.fault("something has changed: %s", d)
		}
	}
}

// stale reports whether a message began an IKE SA of which an Endpoint knows nothing any more. If it comes back, the
// Endpoint cannot tell it from the first message of somebody else.
func stale(f ike.Frozen, message []byte) bool {
	h, _ := wire.ParseHeader(message)
	known := slices.ContainsFunc(f.V1.SAs, func(s ikev1.FrozenSA) bool { return s.SPIi == h.SPIi }) ||
		slices.ContainsFunc(f.V2.SAs, func(s ikev2.FrozenSA) bool { return s.SPIi == h.SPIi })
	return h.SPIr == 0 && !known
}

// exchanges are those of the answers.
func (did *effects) exchanges() (out []string) {
	for h := range did.answers {
		out = append(out, h.Exchange.String())
	}
	slices.Sort(out)
	return out
}

// refreeze returns what an Endpoint knows, which goes on.
func (n *end) refreeze() ike.Frozen {
	i := n.freeze()
	lines, facts := n.lines, n.facts
	n.thaw(&i, n.peers)
	n.lines, n.facts = lines, facts
	return i.frozen
}

// settle lets the story go on: the exchanges under way, liveness checks, and a rekey.
func (w *world) settle() (o outcome) {
	w.run(time.Second)
	if p, _ := w.pairs(); p == 0 {
		w.run(90 * time.Second)
	}
	w.run(40 * time.Second)
	w.ends[0].Do(w.now, sa.Rekey{Tunnel: "a"})
	w.run(20 * time.Second)
	o.pairs, o.others = w.pairs()
	for i, n := range w.ends {
		f := n.freeze().frozen
		o.facts[i], o.machines[i] = n.facts, len(f.V1.SAs)+len(f.V2.SAs)+len(f.Pending)
	}
	return o
}

// survive checks what a peer that misbehaves may not do: harm to others, and growth.
func (w *world) survive(st *state) {
	w.run(40 * time.Second)
	a, b, c := w.ends[0], w.ends[1], w.ends[2]
	for _, n := range w.ends {
		f := n.refreeze()
		if machines := len(f.V1.SAs) + len(f.V2.SAs) + len(f.Pending); machines > 6 || len(n.in) > 6 || len(n.taken) > 8 {
			w.fault("%v has %d IKE SAs, %d Child SAs and %d SPIs", n.addr, machines, len(n.in), len(n.taken))
		}
	}
	a.SetPeers(w.now, nil)
	b.SetPeers(w.now, b.peers[1:])
	b.peers = b.peers[1:]
	w.run(3 * time.Minute)
	c.Do(w.now, sa.Rekey{Tunnel: "c"})
	w.run(20 * time.Second)
	if want := []string{"ChildIn c", "ChildOut c", "ChildGone c"}; !slices.Equal(c.facts, want) || len(c.in) != 1 || len(c.out) != 1 {
		w.fault("the bystander: %q, %d Child SAs, want %q", c.facts, len(c.in), want)
	}
	for i, want := range [...]int{0, 1, 1} {
		n := w.ends[i]
		f := n.freeze().frozen
		if machines := len(f.V1.SAs) + len(f.V2.SAs); machines != want || len(f.Pending) > 0 || len(n.in) != want || len(n.taken) != want || len(f.Answered) > want {
			w.fault("%v is left with %d IKE SAs, %d pending, %d Child SAs and %d SPIs, want %d", n.addr, machines, len(f.Pending), len(n.in), len(n.taken), want)
		}
	}
}
