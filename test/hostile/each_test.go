package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"vpngw/ike/iketest"
	"vpngw/ike/wire"
)

// TestTruncatedAtEveryLength cuts every message of every story at every length, in clear and, with the right keys, before
// it is encrypted. What has no keys goes to one world in turn, since none of it may change anything.
func TestTruncatedAtEveryLength(t *testing.T) { eachStory(t, truncate) }

func truncate(t *testing.T, s *story, sum *tally) {
	for _, st := range s.states(t) {
		if len(st.wire) == 0 {
			continue
		}
		p := st.wire[0]
		var shots []shot
		for n := range p.Data {
			cut := p
			cut.Data = bytes.Clone(p.Data[:n])
			shots = append(shots, shot{parcel: cut})
			cut.Data = iketest.FixLength(bytes.Clone(cut.Data))
			shots = append(shots, shot{parcel: cut})
		}
		sum.add("cut", len(shots), st.play(0, shots), s.name+", "+st.name)
		a := newAim(st, 0)
		h, _ := wire.ParseHeader(p.Data)
		step := 1
		if s.version == 2 && len(p.plain) > 1000 {
			step = 16 // a selector
		}
		for n := 0; n < len(p.plain); n += step {
			if shots := a.seal(p, h, p.first, p.plain[:n], true); shots != nil {
				sum.add("authentic: cut", 1, st.play(0, shots), fmt.Sprintf("%s, %s, %d bytes", s.name, st.name, n))
			}
		}
	}
}

// TestHostileMessagesFillNoLog sends each kind of message that needs no keys hundreds of times within a second, each time
// a little different. It fills neither the log nor the memory, and the story goes on.
func TestHostileMessagesFillNoLog(t *testing.T) {
	const times, lines, machines = 700, 20, 600 // half of MaxHalfOpen may be in one address's name
	eachStory(t, func(t *testing.T, s *story, sum *tally) {
		states := s.states(t)
		for i, k := range strange {
			for _, st := range []*state{states[0], states[(i*5+3)%len(states)]} {
				sum.add(k.name, times, st.flood(k, times, lines, machines), s.name+", "+st.name)
			}
		}
	})
}

func (st *state) flood(k kind, times, lines, machines int) []string {
	w := st.thaw(0)
	w.whole = false
	a := newAim(st, 1)
	for range times {
		for _, s := range k.make(a) {
			if n := w.at(s.Local.Addr()); n != nil && len(s.Data) <= 65_507 {
				if len(s.Data) > 28 && binary.BigEndian.Uint64(s.Data[8:]) == 0 && a.coin() {
					binary.BigEndian.PutUint64(s.Data, a.rand.Uint64()) // as another first message
				}
				w.deliver(s.parcel)
			}
		}
	}
	for _, n := range w.ends {
		f := n.refreeze()
		if left := len(f.V1.SAs) + len(f.V2.SAs); left > machines {
			w.fault("%v has %d IKE SAs", n.addr, left)
		}
		if n.lines > lines {
			w.fault("more than %d lines of log within a second", lines)
		}
	}
	return w.faults
}
