package esp

import (
	"bytes"
	"fmt"
	"testing"

	"vpngw/ipsec"
)

// run is one datagram as UDP_GRO gives it: packets of one size, one behind the other.
func run(ds []ipsec.Datagram) ipsec.Datagram {
	d := ds[0]
	d.Data = nil
	for _, x := range ds {
		d.Data = append(d.Data, x.Data...)
	}
	d.Segment = len(ds[0].Data)
	return d
}

// theNth is packet i of a test.
func theNth(i int) []byte {
	p := udpPacket(false, 1, 2, 300)
	p[len(p)-1] = byte(i)
	return p
}

// sealedOnes are n packets, each a datagram.
func sealedOnes(a *end, n int) (ds []ipsec.Datagram) {
	for i := range n {
		ds = append(ds, from(endAddrs[0][udp4], a.out(theNth(i)))...)
	}
	return ds
}

// The ICVs of packets that come together are computed together, but each packet stands for itself: forged ones, repeated
// ones and ones that are cut do not disturb those beside them, and the order stays.
func TestOneBadPacketDoesNotDisturbThoseBesideIt(t *testing.T) {
	for _, s := range allSuites() {
		t.Run(s.String(), func(t *testing.T) {
			a, b := newEnd(t, 0), newEnd(t, 1)
			_, sb := couple(t, a, b, s, udp4, nil)
			ds := sealedOnes(a, 40)
			for _, i := range []int{0, 15, 16, 21} {
				ds[i].Data[len(ds[i].Data)-1] ^= 1 // the ICV
			}
			ds[5].Data[len(ds[5].Data)/2] ^= 0x80 // what is encrypted
			ds[7].Data = bytes.Clone(ds[6].Data)  // a replay within the run
			ds[30].Data = bytes.Clone(ds[2].Data) // and of an earlier group
			bad := []int{0, 5, 7, 15, 16, 21, 30}
			d := run(ds)
			d.Data = d.Data[:len(d.Data)-3] // cuts the last
			bad = append(bad, 39)
			got := b.in(udp4, d)
			want := map[string]uint64{"bad-icv": 5, "replay": 2}
			if (len(ds[0].Data)-3-espHeader-b.opener(sb).ivLen-b.opener(sb).icvLen)%b.opener(sb).align == 0 {
				want["bad-icv"]++
			} else {
				want["malformed"] = 1
			}
			wantDrops(t, b, sb.SPIIn, want)
			for i := range 40 {
				if len(bad) > 0 && bad[0] == i {
					bad = bad[1:]
					continue
				}
				if len(got) == 0 || !bytes.Equal(got[0], theNth(i)) {
					t.Fatalf("packet %d is missing, or not in its place", i)
				}
				got = got[1:]
			}
			if len(got) > 0 {
				t.Errorf("%d packets more", len(got))
			}
		})
	}
}

func (e *end) opener(sa *ipsec.ChildSA) *opener { return e.plane.sad.lookup(sa.SPIIn).opener }

// A packet's extended number is known only when those before it are open: a group may come in whose first packet moves the
// window so far that the second means another number.
func TestExtendedNumbersAreRecoveredInOrder(t *testing.T) {
	for _, proposal := range []string{"aes128gcm16-esn", "aes128-sha256-esn", "aes256-sha1-esn", "null-md5-esn"} {
		a, b, _, sb := ends(t, proposal, udp4, nil)
		out := a.tunnel.spd.Load().outs[0]
		var ds []ipsec.Datagram
		for i, seq := range []uint64{100, 0xf0000000, 1<<32 + 100, 1<<32 + 101, 1<<32 + 0xf0000000, 2 << 32, 2<<32 + 101} {
			out.seq = seq - 1
			ds = append(ds, from(endAddrs[0][udp4], a.out(theNth(i)))...)
		}
		if got := b.in(udp4, run(ds)); len(got) != len(ds) {
			t.Errorf("%s: %d of %d carried", proposal, len(got), len(ds))
		}
		wantDrops(t, b, sb.SPIIn, map[string]uint64{})
		if got := b.in(udp4, run(ds)); len(got) != 0 {
			t.Errorf("%s: %d carried twice", proposal, len(got))
		}
	}
}

// Packets of several SAs come in turn, with an IKE message and a keepalive between them.
func TestPacketsOfSeveralSAsComeInTurn(t *testing.T) {
	suites := []string{"aes128-sha256", "aes128gcm16", "3des-md5", "aes256-sha512", "aes192-sha384-esn", "null-sha1"}
	b := newEnd(t, 1)
	var all [][]ipsec.Datagram
	for _, proposal := range suites {
		a := newEnd(t, 0)
		couple(t, a, b, suite{Suite: named(t, proposal)}, udp4, nil)
		all = append(all, sealedOnes(a, 37))
	}
	var ds []ipsec.Datagram
	want := 0
	for i := range 37 {
		for j, of := range all {
			for range i%3*j + 1 {
				if len(of) > 0 {
					ds = append(ds, of[0])
					of = of[1:]
					want++
				}
			}
			all[j] = of
		}
		x := ds[len(ds)-1]
		x.Data = []byte{0xff}
		ds = append(ds, x)
		x.Data = []byte{0, 0, 0, 0, 1}
		ds = append(ds, x)
	}
	if got := b.in(udp4, ds...); len(got) != want || len(b.ike) != 37 {
		t.Errorf("%d of %d packets and %d of 37 IKE messages carried", len(got), want, len(b.ike))
	}
	if drops := b.plane.PlaneCounters().Drops; len(drops) != 1 || drops["keepalive"] != 37 {
		t.Errorf("drops: %v", drops)
	}
}

// What goes out together is sealed together. Whatever the number of packets, their sizes and how the SAs take turns: each is as
// the RFCs say.
func TestPacketsSealedTogetherReadAsTheRFCsSay(t *testing.T) {
	for _, s := range allSuites() {
		t.Run(s.String(), func(t *testing.T) {
			for _, n := range []int{1, 3, 15, 16, 17, 39} {
				out, _, k := halves(t, s)
				other, _, otherKeys := halves(t, s)
				var g sealing
				buf := make([]byte, 1<<17)
				type packet struct {
					b, inner []byte
					seq      uint64
					k        ipsec.Keys
				}
				var ps []packet
				for i := range n {
					seal, keys := out, k
					if i%11 == 10 {
						seal, keys = other, otherKeys
					}
					size := 1400 - n
					if i%7 == n%7 {
						size = 20 + 37*i
					}
					p := packet{inner: roomy(size), seq: 1<<32 - 20 + uint64(i), k: keys}
					p.b = seal.stage(buf, p.inner, protoIPv4, p.seq)
					buf = buf[len(p.b):]
					if seal.mac != nil {
						g.add(seal, p.b, p.seq)
					}
					ps = append(ps, p)
				}
				g.seal()
				ivs := map[string]bool{}
				for i, p := range ps {
					plain, err := reference(s, p.k, p.b, p.seq)
					if err != nil {
						t.Fatalf("packet %d of %d: %v", i, n, err)
					}
					if !bytes.HasPrefix(plain, p.inner) {
						t.Fatalf("packet %d of %d came back as %x", i, n, plain)
					}
					iv := fmt.Sprintf("%x %x", p.b[8:8+out.ivLen], p.k.Integ)
					if out.ivLen > 0 && ivs[iv] {
						t.Fatalf("packet %d of %d: an IV repeats", i, n)
					}
					ivs[iv] = true
				}
			}
		})
	}
}
