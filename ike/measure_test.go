package ike

import (
	"bytes"
	"testing"
	"time"

	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// measuring is a connected pair, the Measured facts of its first end, and its messages that must not be fragmented.
func measuring(t *testing.T, change func(pa, pb *sa.Peer), filter func(*ipsec.Datagram) bool) (w *world, a, b *end, facts *[]sa.Measured, whole *[]sa.Send) {
	w, a, b = pairOf(t, change)
	w.filter = filter
	w.run(10 * time.Second)
	wantPairs(t, a, b, 1)
	facts, whole = new([]sa.Measured), new([]sa.Send)
	a.see = func(x sa.Action) {
		switch x := x.(type) {
		case sa.Measured:
			*facts = append(*facts, x)
		case sa.Send:
			if x.Whole {
				*whole = append(*whole, x)
			}
		}
	}
	return w, a, b, facts, whole
}

// narrow loses the messages that do not fit into an IP packet of mtu bytes.
func narrow(mtu int) func(*ipsec.Datagram) bool {
	return func(d *ipsec.Datagram) bool {
		outer := 28
		if d.Local.Port() == sa.PortNATT {
			outer += 4
		}
		return outer+len(d.Data) <= mtu
	}
}

var measured = []struct {
	name   string
	change func(pa, pb *sa.Peer)
	least  int // bytes of 1500 that a probe fills
}{
	{"IKEv2, AEAD", func(pa, pb *sa.Peer) {
		for _, p := range []*sa.Peer{pa, pb} {
			p.Proposals = proposals(ipsec.ProtoIKE, "aes128gcm16-prfsha256-x25519")
		}
	}, 1500},
	{"IKEv2, CBC", nil, 1500 - 15},
	{"IKEv2, encapsulated", func(pa, pb *sa.Peer) { pa.Encap = sa.EncapAlways; pb.Encap = sa.EncapAlways }, 1500 - 15},
	{"IKEv1", v1, 1500 - 15},
	{"IKEv1, HASH last", func(pa, pb *sa.Peer) { v1(pa, pb); pa.DPD.Order = dpd.NotifyHash }, 1500 - 15},
}

func TestAProbeOfThePathIsAnsweredOrLost(t *testing.T) {
	for _, tt := range measured {
		t.Run(tt.name, func(t *testing.T) {
			w, a, b, facts, whole := measuring(t, tt.change, nil)
			spi, start := a.ikeOf().SPIi, w.now
			a.Do(w.now, sa.Measure{Tunnel: "a", Size: 1500})
			w.run(100 * time.Millisecond)
			if len(*facts) != 1 || !(*facts)[0].Passed || (*facts)[0].Asked != 1500 || (*facts)[0].Size > 1500 || (*facts)[0].Size < tt.least {
				t.Fatalf("on a wide path: %+v", *facts)
			}
			if n := len((*whole)[0].Data) + sa.OuterSize((*whole)[0].Path); len(*whole) != 1 || n != (*facts)[0].Size {
				t.Errorf("%d messages, the first of %d bytes, want one of %d", len(*whole), n, (*facts)[0].Size)
			}
			// What does not arrive is known within 1.25 s, and holds up nothing longer.
			*facts = nil
			w.filter = narrow(1400)
			a.Do(w.now, sa.Measure{Tunnel: "a", Size: 1500})
			a.Do(w.now, sa.Rekey{Tunnel: "a"})
			w.run(1300 * time.Millisecond)
			if len(*facts) != 1 || (*facts)[0].Passed || (*facts)[0].Unable || (*facts)[0].Asked != 1500 {
				t.Fatalf("on a narrow path: %+v", *facts)
			}
			w.run(2 * time.Second)
			a.Do(w.now, sa.Measure{Tunnel: "a", Size: 1400})
			w.run(2 * time.Minute)
			if len(*facts) != 2 || !(*facts)[1].Passed || (*facts)[1].Size > 1400 {
				t.Errorf("1400 bytes on a path of 1400: %+v", *facts)
			}
			wantPairs(t, a, b, 1)
			if a.ikeOf().SPIi != spi || a.newest[0].SPIIn == 0x1001 {
				t.Errorf("the IKE SA is another, or the Child SA was not rekeyed, %v later", w.now.Sub(start))
			}
		})
	}
}

// The answer to a probe is lost, or the probe: a peer that compares requests sees the one that it has.
func TestALostAnswerToAProbeEndsNothing(t *testing.T) {
	for _, tt := range measured {
		for lose := range 3 {
			w, a, b, facts, _ := measuring(t, tt.change, nil)
			spi, n := a.ikeOf().SPIi, 0
			w.filter = func(d *ipsec.Datagram) bool {
				h, _ := wire.ParseHeader(d.Data)
				if h.Exchange != wire.ExchangeInformational && h.Exchange != wire.ExchangeInfo1 {
					return true
				}
				n++
				return n-1 != lose
			}
			a.Do(w.now, sa.Measure{Tunnel: "a", Size: 1500})
			w.run(5 * time.Minute)
			if a.ikeOf().SPIi != spi {
				t.Errorf("%s: message %d is lost: the IKE SA ended", tt.name, lose)
			}
			wantPairs(t, a, b, 1)
			if len(*facts) != 1 || (*facts)[0].Passed != (lose == 2) {
				t.Errorf("%s: message %d is lost: %+v", tt.name, lose, *facts)
			}
		}
	}
}

func TestAPeerThatAnswersNoProbeIsSaidToBeUnable(t *testing.T) {
	w, a, _, facts, whole := measuring(t, v1, func(d *ipsec.Datagram) bool {
		if i := bytes.Index(d.Data, []byte("\xaf\xca\xd7\x13")); i >= 0 { // the vendor id of RFC 3706
			d.Data[i]++
		}
		return true
	})
	a.Do(w.now, sa.Measure{Tunnel: "a", Size: 1500})
	a.drain()
	if len(*facts) != 1 || !(*facts)[0].Unable || len(*whole) != 0 {
		t.Errorf("%+v, %d probes", *facts, len(*whole))
	}
	a.Do(w.now, sa.Measure{Tunnel: "nobody's", Size: 1500})
}
