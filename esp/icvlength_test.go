package esp

import (
	"testing"

	"vpngw/ipsec"
)

// A peer that cuts HMAC-SHA-256 to 96 bits where we have 128, or the other way round, is told apart from one with wrong
// keys, until a packet was authentic; and never by more than maxGuesses packets of an SA.
func TestICVOfTheOtherLengthIsCountedByName(t *testing.T) {
	sent := func(a *end, n int) (ds []ipsec.Datagram) {
		for range n {
			ds = append(ds, from(endAddrs[0][udp4], a.out(udpPacket(false, 1, 2, 100)))...)
		}
		return ds
	}
	for _, proposal := range []string{"aes128-sha256", "aes128-sha256-esn", "3des-sha256", "null-sha256"} {
		for _, trunc := range []bool{true, false} {
			a, b, _, sb := ends(t, proposal, udp4, func(c *ipsec.ChildSA) { c.Trunc96 = trunc })
			wrong := *sb
			wrong.Trunc96 = !trunc
			o, err := newOpener(&wrong)
			if err != nil {
				t.Fatal(err)
			}
			b.plane.sad.lookup(sb.SPIIn).opener = o
			if got := b.in(udp4, sent(a, 3)...); len(got) != 0 {
				t.Errorf("%s: %d packets are carried", proposal, len(got))
			}
			wantDrops(t, b, sb.SPIIn, map[string]uint64{"icv-length": 3})
		}
	}

	a, b, _, sb := ends(t, "aes128-sha256", udp4, nil)
	forged := sent(a, maxGuesses+5)
	for _, d := range forged {
		d.Data[len(d.Data)-1] ^= 1
	}
	b.in(udp4, forged...)
	wantDrops(t, b, sb.SPIIn, map[string]uint64{"bad-icv": maxGuesses + 5})
	if got := b.plane.sad.lookup(sb.SPIIn).guesses; got != maxGuesses {
		t.Errorf("%d packets were tried twice, want %d", got, maxGuesses)
	}
	if got := b.in(udp4, sent(a, 2)...); len(got) != 2 {
		t.Errorf("%d of 2 good packets are carried", len(got))
	}
}
