package ikev1

import (
	"strconv"
	"time"

	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// step is the message that an exchange takes next: mm3 is message 3 of main mode.
// The zero step takes no message, and neither does a step that the table lacks.
type step uint8

const (
	none step = iota
	mm1
	mm2
	mm3
	mm4
	mm5
	mm6
	ag1
	ag2
	ag3
	qm1
	qm2
	qm3
	inf1
	steps // how many there are
)

// handler takes a message that has the shape of its step. When it returns a
// *dropped, the message was not authentic and has changed nothing.
type handler func(s *SA, x *exchange, now time.Time, m *message) error

// row describes a step.
type row struct {
	name  string
	text  string // for people
	shape shape
	take  handler
}

// table is the steps. init fills it, because some of its handlers name their own step to people.
var table [steps]row

func init() {
	table = [steps]row{
		none: {name: "none"},

		mm1: {"mm1", "message 1 of main mode", shape{must: types{wire.TypeSA1}, first: wire.TypeSA1}, inPhase1((*phase1).mm1)},
		mm2: {"mm2", "message 2 of main mode", shape{must: types{wire.TypeSA1}, first: wire.TypeSA1}, inPhase1((*phase1).mm2)},
		mm3: {"mm3", "message 3 of main mode", shape{must: types{wire.TypeKE1, wire.TypeNonce1}}, inPhase1((*phase1).mm3)},
		mm4: {"mm4", "message 4 of main mode", shape{must: types{wire.TypeKE1, wire.TypeNonce1}}, inPhase1((*phase1).mm4)},
		mm5: {"mm5", "message 5", shape{must: types{wire.TypeID1, wire.TypeHash1}}, inPhase1((*phase1).mm5)},
		mm6: {"mm6", "message 6", shape{must: types{wire.TypeID1, wire.TypeHash1}}, inPhase1((*phase1).mm6)},

		ag1: {"ag1", "message 1 of aggressive mode", shape{must: types{wire.TypeSA1, wire.TypeKE1, wire.TypeNonce1, wire.TypeID1}, first: wire.TypeSA1}, inPhase1((*phase1).ag1)},
		ag2: {"ag2", "message 2 of aggressive mode", shape{must: types{wire.TypeSA1, wire.TypeKE1, wire.TypeNonce1, wire.TypeID1, wire.TypeHash1}, first: wire.TypeSA1}, inPhase1((*phase1).ag2)},
		ag3: {"ag3", "message 3 of aggressive mode", shape{must: types{wire.TypeHash1}, clear: true}, inPhase1((*phase1).ag3)},

		qm1: {"qm1", "message 1 of quick mode", shape{must: types{wire.TypeHash1, wire.TypeSA1, wire.TypeNonce1}, may: types{wire.TypeKE1}, first: wire.TypeHash1, ids: true}, inAnswer((*answer).qm1)},
		qm2: {"qm2", "message 2 of quick mode", shape{must: types{wire.TypeHash1, wire.TypeSA1, wire.TypeNonce1}, may: types{wire.TypeKE1}, first: wire.TypeHash1, ids: true}, inQuick((*quick).qm2)},
		qm3: {"qm3", "message 3 of quick mode", shape{must: types{wire.TypeHash1}, first: wire.TypeHash1}, inAnswer((*answer).qm3)},

		inf1: {"inf1", "an informational message", shape{must: types{wire.TypeHash1}, not: types{wire.TypeSA1, wire.TypeKE1, wire.TypeNonce1, wire.TypeID1}}, (*SA).informed},
	}
}

// inPhase1, inQuick and inAnswer make a handler of a method of phase 1 or of a quick mode.
func inPhase1(f func(*phase1, time.Time, *message) error) handler {
	return func(s *SA, x *exchange, now time.Time, m *message) error {
		if s.p1 == nil || s.p1.x != x {
			return drop(sa.DropRepeated, "phase 1 is over")
		}
		return f(s.p1, now, m)
	}
}

func inQuick(f func(*quick, time.Time, *message) error) handler {
	return func(_ *SA, x *exchange, now time.Time, m *message) error {
		if x.asks == nil {
			return drop(sa.DropRepeated, "the quick mode is over")
		}
		return f(x.asks, now, m)
	}
}

func inAnswer(f func(*answer, time.Time, *message) error) handler {
	return func(_ *SA, x *exchange, now time.Time, m *message) error {
		if x.answers == nil {
			return drop(sa.DropRepeated, "the quick mode is over")
		}
		return f(x.answers, now, m)
	}
}

// row is the row of a step. A step that the table lacks has the row of none.
func (st step) row() *row {
	if st >= steps {
		st = none
	}
	return &table[st]
}

// firstSteps take the first message of an exchange that the peer begins in the clear.
var firstSteps = map[wire.Exchange]step{wire.ExchangeMain: mm1, wire.ExchangeAggressive: ag1}

// String is the name of a step in the code and in a frozen SA.
func (st step) String() string {
	if st < steps {
		return table[st].name
	}
	return "step " + strconv.Itoa(int(st))
}

// text is the message of a step, for people.
func (st step) text() string { return st.row().text }

// clear reports whether a step takes a message in the clear although there are keys.
func (st step) clear() bool { return st.row().shape.clear }

// take checks the shape of a message and gives it to the handler of the step that x is at.
func (s *SA) take(now time.Time, x *exchange, m *message) error {
	r := x.step.row()
	if r.take == nil {
		return drop(sa.DropRepeated, "the exchange is over")
	}
	if err := r.shape.check(m.Exchange, m.Payloads); err != nil {
		return err
	}
	return r.take(s, x, now, m)
}

type types []wire.PayloadType

// shape is which payloads a message has (RFC 2409 section 5). Other payloads are ignored.
// The zero shape fits no message.
type shape struct {
	must  types            // each exactly once
	may   types            // each at most once
	not   types            // none: HASH(1) does not cover the exchange type, so the payloads must tell
	first wire.PayloadType // at the head
	ids   bool             // two ID payloads or none
	clear bool             // also unencrypted, although there are keys
}

// check reports what a message lacks or has too often. An encrypted message of another
// shape was most likely not decrypted with the right key.
func (sh *shape) check(x wire.Exchange, ps []wire.Payload) error {
	if len(sh.must) == 0 {
		return drop(sa.DropMalformed, "%v with a message that no step takes", x)
	}
	count := map[wire.PayloadType]int{}
	for _, p := range ps {
		count[p.Type()]++
	}
	for _, t := range sh.must {
		switch n := count[t]; {
		case n == 0 && t == wire.TypeHash1:
			return drop(sa.DropBadHash, "%v without HASH", x)
		case n != 1:
			return drop(sa.DropMalformed, "%v with %d %v payloads, which must be 1", x, n, t)
		}
	}
	for _, t := range sh.may {
		if count[t] > 1 {
			return drop(sa.DropMalformed, "%v with %d %v payloads", x, count[t], t)
		}
	}
	for _, t := range sh.not {
		if count[t] > 0 {
			return drop(sa.DropMalformed, "%v with %v, as if it were another exchange", x, t)
		}
	}
	if n := count[wire.TypeID1]; sh.ids && n != 0 && n != 2 {
		return drop(sa.DropMalformed, "%v with %d ID payloads, which must be 2 or none", x, n)
	}
	if sh.first != 0 && wire.FirstType(ps) != sh.first {
		return drop(sa.DropMalformed, "%v does not begin with %v", x, sh.first)
	}
	return nil
}
