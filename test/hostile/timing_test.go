package hostile

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"vpngw/ike/wire"
	"vpngw/ipsec"
	"vpngw/ipsec/timingtest"
)

// TestForgeriesTakeTheSameTime: nobody learns from the time of a drop or an answer what is wrong with a message. It measures, so it
// runs in make soak.
func TestForgeriesTakeTheSameTime(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("needs SOAK=1 and a quiet machine")
	}
	t.Run("IKEv2", func(t *testing.T) {
		st := stories[0].states(t)
		forged2(t, st[slices.IndexFunc(st, func(s *state) bool { return s.name == "connected" })])
		forgedAuth(t, st)
	})
	t.Run("IKEv1", func(t *testing.T) {
		st := stories[3].states(t)
		forged1(t, st[slices.IndexFunc(st, func(s *state) bool { return s.name == "connected" })])
	})
}

// changed is a message with one bit changed.
func changed(p parcel, at int) parcel {
	p = clone(p)
	p.Data[at] ^= 1
	return p
}

// again hands one of two messages to the same Endpoint, again and again.
func again(st *state, a, b parcel) (prepare func(int), call func()) {
	w := st.thaw(0)
	n := w.at(a.Local.Addr())
	in := clone(a)
	prepare = func(i int) {
		timingtest.Pick(in.Data, a.Data, b.Data, i)
		n.drain()
		n.lines, w.wire = 0, nil
	}
	return prepare, func() { n.Handle(w.now, in.Datagram) }
}

func compare(t *testing.T, st *state, name string, a, b parcel) {
	t.Helper()
	prepare, call := again(st, a, b)
	timingtest.Same(t, name, prepare, call)
}

// foreign is a message that another key has protected.
func foreign(p parcel) parcel {
	p = clone(p)
	chacha(9).Read(p.Data[wire.HeaderSize+4:])
	return p
}

// forged2 compares forgeries on an IKE SA that is up.
func forged2(t *testing.T, st *state) {
	a := newAim(st, 0)
	p, _ := a.messageOf(func(p parcel) bool { return encrypted(p) && p.Local.Addr() == addrB })
	h, ok := a.current(p, wire.Header{Major: 2, Exchange: wire.ExchangeInformational})
	if !ok {
		t.Fatal("no keys")
	}
	good := a.seal(p, h, wire.TypeNotify, wire.AppendChain(nil, []wire.Payload{&wire.Notify{Kind: 50000, Data: make([]byte, 150)}}), false)[0].parcel
	end := len(good.Data)
	compare(t, st, "IKEv2: the ICV wrong in its first or last byte", changed(good, end-16), changed(good, end-1))
	compare(t, st, "IKEv2: the ICV wrong, or the block with the padding", changed(good, end-16), changed(good, end-17))
	compare(t, st, "IKEv2: the ICV wrong, or everything", changed(good, end-16), foreign(good))
}

// forgedAuth compares AUTH payloads of an initiator that does not have the pre-shared key. Each ends its IKE SA, so
// each goes to an Endpoint of its own.
func forgedAuth(t *testing.T, states []*state) {
	for _, st := range states {
		if len(st.wire) == 0 || st.wire[0].Local.Addr() != addrB {
			continue
		}
		p := st.wire[0]
		h, _ := wire.ParseHeader(p.Data)
		ps, err := wire.ParseChain(p.first, p.plain)
		auth, ok := wire.Find[*wire.Auth](ps)
		if err != nil || !ok {
			continue
		}
		mac := auth.Data
		with := func(change func(b []byte)) parcel {
			auth.Data = bytes.Clone(mac)
			change(auth.Data)
			return newAim(st, 0).seal(p, h, wire.FirstType(ps), wire.AppendChain(nil, ps), true)[0].parcel
		}
		first, last := with(func(b []byte) { b[0] ^= 1 }), with(func(b []byte) { b[len(b)-1] ^= 1 })
		other := with(func(b []byte) { chacha(5).Read(b) })
		for name, x := range map[string][2]parcel{"its first or last byte": {first, last}, "a byte, or everything as with another pre-shared key": {last, other}} {
			var w *world
			in := clone(x[0])
			timingtest.Same(t, "IKEv2: AUTH wrong in "+name, func(i int) {
				w = st.thaw(0)
				timingtest.Pick(in.Data, x[0].Data, x[1].Data, i)
			}, func() { w.ends[1].Handle(w.now, in.Datagram) })
		}
		return
	}
	t.Fatal("no IKE_AUTH request")
}

// forged1 compares forgeries on an ISAKMP SA that is up. IKEv1 has no ICV: a message is decrypted first.
func forged1(t *testing.T, st *state) {
	a := newAim(st, 0)
	p, _ := a.messageOf(func(p parcel) bool { return encrypted(p) && p.Local.Addr() == addrB })
	h, _ := a.current(p, wire.Header{Major: 1, Exchange: wire.ExchangeInfo1})
	note := &wire.Notify1{DOI: 1, Protocol: ipsec.ProtoIKE, Kind: 50000, Data: make([]byte, 150)}
	with := func(at int, padding byte) parcel {
		hash := &wire.Raw{Kind: wire.TypeHash1, Data: bytes.Repeat([]byte{0xa5}, 16)}
		if at >= 0 {
			hash.Data = hashOf(st, h, note)
			hash.Data[at] ^= 1
		}
		h := h
		h.Next = wire.TypeHash1
		plain := wire.AppendChain(nil, []wire.Payload{hash, note})
		for len(plain)%16 != 0 {
			plain = append(plain, padding)
		}
		q := clone(p)
		q.Data = st.tap1.Clone().EncryptBytes(h, plain, nil)
		return q
	}
	compare(t, st, "IKEv1: HASH(1) wrong in its first or last byte", with(0, 0), with(15, 0))
	compare(t, st, "IKEv1: HASH(1) wrong in a byte, or everywhere", with(0, 0), with(-1, 0))
	compare(t, st, "IKEv1: HASH(1) wrong, with or without the right padding", with(0, 0), with(0, 0xff))
	// A message of another key is no payloads, mostly, so no HASH is computed. Nothing answers either, and nobody looks at the padding.
	prepare, call := again(st, with(0, 0), foreign(with(0, 0)))
	timingtest.Log(t, "IKEv1: HASH(1) wrong, or another key", prepare, call)
}

// hashOf is the right HASH(1) of a notification.
func hashOf(st *state, h wire.Header, note wire.Payload) []byte {
	tap := st.tap1.Clone()
	_, c, ok := tap.Open(tap.Forge(h, []wire.Payload{note}, nil))
	if !ok {
		panic("the tap cannot read what it has forged")
	}
	return bytes.Clone(c.Body(0))
}
