package sa

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"vpngw/ipsec"
)

// FrozenRetransmitter is a Retransmitter as plain data, but for its Rand.
type FrozenRetransmitter struct {
	First, Max, Total time.Duration
	Msgs              [][]byte
	Wait              time.Duration
	Next, Until       time.Time
}

// Freeze lists the state of r. The messages are shared with r, which changes none of them.
func (r *Retransmitter) Freeze() FrozenRetransmitter {
	return FrozenRetransmitter{
		First: r.First, Max: r.Max, Total: r.Total, Msgs: r.msgs, Wait: r.wait, Next: r.next, Until: r.until,
	}
}

// Thaw makes r the Retransmitter that f lists. Rand stays.
func (r *Retransmitter) Thaw(f FrozenRetransmitter) {
	*r = Retransmitter{
		First: f.First, Max: f.Max, Total: f.Total, Rand: r.Rand, msgs: f.Msgs, wait: f.Wait, next: f.Next, until: f.Until,
	}
}

// FrozenPeer is which Peer an IKE SA has. The zero value: it is not known yet.
type FrozenPeer struct {
	Known bool
	Key   string // empty: the configuration has it no more, and the rest says what it was
	Name  string
	PeerKey
	Settings // without the pre-shared key
}

// FreezePeer names p, which may be nil. key is its name for Thaw; empty: the configuration has p no more.
func FreezePeer(p *Peer, key func(*Peer) string) FrozenPeer {
	if p == nil {
		return FrozenPeer{}
	}
	if k := key(p); k != "" {
		return FrozenPeer{Known: true, Key: k}
	}
	f := FrozenPeer{Known: true, Name: p.Name, PeerKey: p.PeerKey, Settings: p.Settings}
	f.PSK = nil
	return f
}

// Thaw finds the Peer that f names, or makes one that no configuration has.
func (f FrozenPeer) Thaw(peer func(key string) *Peer) (*Peer, error) {
	switch {
	case !f.Known:
		return nil, nil
	case f.Key == "":
		return &Peer{Name: f.Name, PeerKey: f.PeerKey, Settings: f.Settings}, nil
	}
	if p := peer(f.Key); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no peer has the key %q", f.Key)
}

// FrozenChild is which configured Child a Child SA or an exchange serves. The zero value: none.
type FrozenChild struct {
	Set   bool
	Gone  bool // the configuration has it no more
	Child Child
}

// FreezeChild names c, which may be nil, among the children of p.
func FreezeChild(p *Peer, c *Child) FrozenChild {
	if c == nil {
		return FrozenChild{}
	}
	return FrozenChild{Set: true, Gone: p == nil || !slices.Contains(p.Children, c), Child: *c}
}

// Thaw finds the child of p that f names, or makes one that no configuration has; nil: f names none.
func (f FrozenChild) Thaw(p *Peer) *Child {
	if !f.Set {
		return nil
	}
	if p != nil && !f.Gone {
		for _, c := range p.Children {
			if c.Name == f.Child.Name {
				return c
			}
		}
	}
	former := f.Child
	return &former
}

// Numbered numbers Child SAs from 1, so that a frozen SA can refer to them by number. 0 refers to none.
type Numbered[C comparable] []C

// Of is the number of c; a new c gets the next one.
func (n *Numbered[C]) Of(c C) int {
	var none C
	if c == none {
		return 0
	}
	i := slices.Index(*n, c)
	if i < 0 {
		i = len(*n)
		*n = append(*n, c)
	}
	return i + 1
}

// At is the Child SA of a number.
func (n Numbered[C]) At(number int) (C, error) {
	var none C
	switch {
	case number == 0:
		return none, nil
	case number < 0 || number > len(n):
		return none, errors.New("it refers to a Child SA that is not there")
	}
	return n[number-1], nil
}

// CloneKeys copies the keys of a Child SA.
func CloneKeys(k ipsec.Keys) ipsec.Keys {
	return ipsec.Keys{Encr: bytes.Clone(k.Encr), Integ: bytes.Clone(k.Integ)}
}
