package ike

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// What peers in the field send, and other implementations take.

// longer is a message of which the header knows that bytes were put behind it.
func longer(b []byte, more ...byte) []byte {
	b = append(b, more...)
	binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
	return b
}

// Libreswan pads messages in the clear to a multiple of four bytes.
func TestV1ClearMessagesMayBePadded(t *testing.T) {
	both(t, func(t *testing.T, change func(pa, pb *sa.Peer)) {
		for _, pad := range []int{1, 2, 3, 7, 15} {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				change(pa, pb)
				pa.LocalID, pa.RemoteID = ipsec.ParseIdentity("hq.example.org"), ipsec.ParseIdentity("gw.example.net")
				pb.LocalID, pb.RemoteID = pa.RemoteID, pa.LocalID
			})
			w.filter = func(d *ipsec.Datagram) bool {
				if h, err := wire.ParseHeader(d.Data); err == nil && h.Flags&wire.FlagEncrypted == 0 {
					d.Data = longer(bytes.Clone(d.Data), make([]byte, pad)...)
				}
				return true
			}
			w.run(time.Second)
			wantPairs(t, a, b, 1)
		}
	})
}

// When something came, the cause says what, and why it could not be used: at the initiator and at the responder.
func TestACauseNeverClaimsSilenceWhenSomethingCame(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(pa, pb *sa.Peer)
		spoil   func(h wire.Header) bool // which messages are spoilt
		with    func(b []byte) []byte
		at      int // the end that has the cause: 0, the initiator
		code    diag.Code
		message string
	}{
		{"main mode, answer", v1, func(h wire.Header) bool { return h.SPIr != 0 && h.Exchange == wire.ExchangeMain }, junk, 0, diag.AnswerUnusable, "message 2 of main mode"},
		{"aggressive mode, answer", aggressive, func(h wire.Header) bool { return h.SPIr != 0 }, junk, 0, diag.AnswerUnusable, "message 2 of aggressive mode"},
		{"IKEv2, answer", shared, func(h wire.Header) bool { return h.SPIr != 0 && h.Exchange == wire.ExchangeSAInit }, junk, 0, diag.AnswerUnusable, "the response to IKE_SA_INIT"},
		{"IKEv2, answer without KE", shared, func(h wire.Header) bool { return h.SPIr != 0 && h.Exchange == wire.ExchangeSAInit }, withoutKE, 0, diag.AnswerUnusable, "the response to IKE_SA_INIT"},
		{"main mode, first", v1, func(h wire.Header) bool { return h.SPIr == 0 }, junk, 1, diag.FirstUnusable, "first message of main mode"},
		{"aggressive mode, first", aggressive, func(h wire.Header) bool { return h.SPIr == 0 }, junk, 1, diag.FirstUnusable, "first message of aggressive mode"},
		{"IKEv2, first", shared, func(h wire.Header) bool { return h.SPIr == 0 }, junk, 1, diag.FirstUnusable, "first message of IKE_SA_INIT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, c.change)
			w.filter = func(d *ipsec.Datagram) bool {
				if h, err := wire.ParseHeader(d.Data); err == nil && c.spoil(h) {
					d.Data = c.with(bytes.Clone(d.Data))
				}
				return true
			}
			w.run(10 * time.Minute)
			why := []*end{a, b}[c.at].peer(0).why.Cause()
			if why.Code != c.code || why.Message != c.message || !strings.Contains(why.String(), why.Err) || why.Err == "" {
				t.Errorf("%s: %v", why.Code, why)
			}
		})
	}
}

func junk(b []byte) []byte { return longer(b, 1, 2, 3) }

// withoutKE turns the KE payload into one of an unknown type, which is ignored.
func withoutKE(b []byte) []byte {
	next := &b[16]
	for at := wire.HeaderSize; *next != 0; {
		if wire.PayloadType(*next) == wire.TypeKE {
			*next = 200
		}
		next, at = &b[at], at+int(binary.BigEndian.Uint16(b[at+2:]))
	}
	return b
}

// A peer writes its name in other letters than it was configured with here.
func TestNamesInOtherLetters(t *testing.T) {
	for _, change := range []func(pa, pb *sa.Peer){shared, v1, aggressive} {
		w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
			change(pa, pb)
			pa.LocalID, pa.RemoteID = ipsec.ParseIdentity("HQ.Example.ORG"), ipsec.ParseIdentity("gw.example.net")
			pb.LocalID, pb.RemoteID = ipsec.ParseIdentity("GW.example.net"), ipsec.ParseIdentity("hq.example.org")
		})
		w.run(time.Second)
		if len(a.out) == 0 || len(b.out) == 0 {
			t.Errorf("no Child SA: %v, %v", a.peer(0).why, b.peer(0).why)
		}
	}
}

// ESP is in UDP though there is no NAT: perhaps a firewall in between forgets a connection that is silent.
func TestEncapAlwaysKeepsTheWayOpen(t *testing.T) {
	for _, change := range []func(pa, pb *sa.Peer){shared, v1} {
		for _, encap := range []sa.Encap{sa.EncapAuto, sa.EncapAlways} {
			w, a, b := pairOf(t, func(pa, pb *sa.Peer) {
				change(pa, pb)
				pa.Encap = encap
			})
			w.run(5 * time.Minute)
			if got, want := a.alive, map[sa.Encap]int{sa.EncapAlways: 14}[encap]; got < want || want == 0 && got > 0 {
				t.Errorf("encap %v: %d keepalives in 5 min", encap, got)
			}
			if b.alive != 0 {
				t.Errorf("the other end, which does not ask for it, sent %d", b.alive)
			}
		}
	}
}
