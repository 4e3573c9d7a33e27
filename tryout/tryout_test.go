package tryout

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ipsec"
)

// silent is a peer that never answers.
type silent struct {
	until time.Time
	sent  int
}

func (s *silent) SetReadDeadline(t time.Time) error { s.until = t; return nil }

func (s *silent) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	time.Sleep(time.Until(s.until))
	return 0, netip.AddrPort{}, os.ErrDeadlineExceeded
}

func (s *silent) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	s.sent++
	return len(b), nil
}

func end(a, net string) config.End {
	addr := netip.MustParseAddr(a)
	return config.End{Address: addr, ID: ipsec.IdentityOf(addr), Subnets: []netip.Prefix{netip.MustParsePrefix(net)}}
}

// A silent peer gets one attempt of each version and few packets.
func TestASilentPeerIsLeftAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("waits")
	}
	t.Parallel()
	conn := &silent{}
	lines := 0
	r, err := Run(context.Background(), Config{
		Local: end("192.0.2.1", "192.168.3.0/24"), Remote: end("192.0.2.2", "10.10.0.0/16"), PSK: ipsec.Secret("a key of the test"),
	}, conn, func(string) { lines++ })
	if err != nil || !r.Cause.Is(diag.NoAnswer) || r.Attempts != 2 || lines != 2 || r.Sent != conn.sent || r.Sent > 12 || r.IKE.Encr.Type != 0 || r.Answered {
		t.Errorf("%+v after %d packets and %d lines, %v", r, conn.sent, lines, err)
	}
}

// refuser is a peer that refuses what IKEv2 offers and does not speak IKEv1.
type refuser struct {
	silent
	answer []byte
}

func (p *refuser) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if len(b) > 28 && b[17] == 0x20 {
		const notify, initial, response, noProposalChosen = 41, 34, 0x20, 14
		p.answer = append(append([]byte(nil), b[:8]...), 0, 0, 0, 0, 0, 0, 0, 0, notify, 0x20, initial, response, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 8, 0, 0, 0, noProposalChosen)
	}
	return p.silent.WriteToUDPAddrPort(b, to)
}

func (p *refuser) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	if p.answer != nil {
		n := copy(b, p.answer)
		p.answer = nil
		return n, netip.MustParseAddrPort("192.0.2.2:500"), nil
	}
	return p.silent.ReadFromUDPAddrPort(b)
}

// The last attempt may be one that nobody answers, though the peer is there.
func TestAPeerThatRefusesHasAnswered(t *testing.T) {
	if testing.Short() {
		t.Skip("waits")
	}
	t.Parallel()
	r, err := Run(context.Background(), Config{
		Local: end("192.0.2.1", "192.168.3.0/24"), Remote: end("192.0.2.2", "10.10.0.0/16"), PSK: ipsec.Secret("a key of the test"),
	}, &refuser{}, func(line string) { t.Log(line) })
	if err != nil || !r.Cause.Is(diag.NoAnswer) || !r.Answered || r.Attempts != len(offers(2, false))+1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhatFollows(t *testing.T) {
	for code, want := range map[diag.Code]what{
		"": over, diag.AuthRefused: over, diag.PSKMismatch: over, diag.PeerIdentity: over, diag.IDDisbelieved: over, diag.SelectorsRefuse: over,
		diag.IKERefused: nextOffer, diag.ESPRefused: nextOffer, diag.NoAnswer: nextVersion,
	} {
		if got := next(code); got != want {
			t.Errorf("%s: got %d, want %d", code, got, want)
		}
	}
}

// No set of offers is longer than the attempts that a peer gets.
func TestOffersAreFew(t *testing.T) {
	v1 := &Result{IKE: ipsec.Suite{}}
	v1.IKE.Encr = ipsec.ByName("aes128").Transform
	v1.IKE.KE = ipsec.ByName("modp2048").Transform
	for _, c := range []struct {
		version    int
		aggressive bool
	}{{2, false}, {1, false}, {1, true}} {
		if n := len(offers(c.version, c.aggressive)); n == 0 || n > maxAttempts/2 {
			t.Errorf("IKEv%d: %d offers", c.version, n)
		}
	}
	if n := len(pfsOffers(1, v1)); n != 5 {
		t.Errorf("%d groups of PFS are tried, want 5", n)
	}
	if pfsOffers(2, v1) != nil || pfsOffers(1, &Result{}) != nil {
		t.Error("PFS is tried where it need not be")
	}
}
