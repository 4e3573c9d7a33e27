package gateway

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"vpngw/config"
	"vpngw/ipsec"
)

// twoAddresses is a host with two sockets of port 4500, as with two addresses
// under `listen`.
type twoAddresses struct {
	*fakeHost
	second *fakeSocket
}

func (h *twoAddresses) Open(listen []netip.Addr) (*Sockets, error) {
	s, err := h.fakeHost.Open(listen)
	s.NATT = append(s.NATT, h.second)
	return s, err
}

func TestEveryListeningAddressIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &twoAddresses{fakeHost: officeHost()}
		h.second = h.newSocket(4500)
		c := configOf(hq())
		c.Listen = config.AddrsOf(addr("203.0.113.9"), addr("203.0.113.10"))
		r := start(t, h.fakeHost, c, Options{Host: h})
		from := netip.MustParseAddrPort("198.51.100.1:4500")
		for i, so := range []*fakeSocket{h.socket(4500), h.second, h.socket(4500), h.second} {
			so.put(ipsec.Datagram{Remote: from, Data: append(make([]byte, 4), byte('a'+i))})
			synctest.Wait()
		}
		var got []string
		for _, d := range r.ike.handled {
			got = append(got, string(d.Data))
		}
		slices.Sort(got)
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		h.second.Close()
	})
}

// stuckESP is a host with a socket of port 4500 whose first datagram holds up the reader, and one for IKE beside it.
type stuckESP struct {
	*fakeHost
	esp    *stuckSocket
	marked *fakeSocket
}

func (h *stuckESP) Open(listen []netip.Addr) (*Sockets, error) {
	s, err := h.fakeHost.Open(listen)
	h.esp = &stuckSocket{s.NATT[0].(*fakeSocket), make(chan struct{})}
	s.NATT[0], s.Marked = h.esp, []Socket{h.marked}
	return s, err
}

type stuckSocket struct {
	*fakeSocket
	release chan struct{}
}

func (s *stuckSocket) ReadReady(ds []ipsec.Datagram) (int, error) {
	n, err := s.fakeSocket.ReadReady(ds)
	if n > 0 {
		<-s.release
	}
	return n, err
}

// So ESP does not wait for IKE either.
func TestIKEOnPort4500DoesNotWaitForESP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &stuckESP{fakeHost: officeHost()}
		h.marked = h.newSocket(4500)
		r := start(t, h.fakeHost, configOf(hq()), Options{Host: h})
		from := netip.MustParseAddrPort("198.51.100.1:4500")
		h.esp.put(ipsec.Datagram{Remote: from, Data: make([]byte, 100)})
		synctest.Wait()
		h.marked.put(ipsec.Datagram{Remote: from, Data: append(make([]byte, 4), "ike"...)})
		synctest.Wait()
		if len(r.ike.handled) != 1 {
			t.Errorf("%d IKE messages were handled, want 1", len(r.ike.handled))
		}
		close(h.esp.release)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		h.marked.Close()
	})
}
