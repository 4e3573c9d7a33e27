package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAddrs is how many addresses of a name count.
const maxAddrs = 16

// System is a Lookup as this host's /etc/hosts and /etc/resolv.conf say. Go's resolver hides how long an answer holds, so
// its datagrams are read along; of an answer that came over TCP nobody knows.
func System(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	return look(ctx, (&net.Dialer{}).DialContext, name)
}

// look looks a name up; dial connects to a DNS server.
func look(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), name string) ([]netip.Addr, time.Duration, error) {
	var t ttl
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if u, ok := c.(*net.UDPConn); ok && err == nil {
			return &overheard{u, &t}, nil
		}
		return c, err
	}}
	if strings.Contains(name, ".") {
		name += "." // without the domains of `search`
	}
	found, err := r.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, 0, plain(err)
	}
	var out []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if a.IsGlobalUnicast() && a.Zone() == "" && !slices.Contains(out, a) && len(out) < maxAddrs {
			out = append(out, a)
		}
	}
	return out, t.least(), nil
}

// plain leaves the name and the server's address out of an error.
func plain(err error) error {
	var d *net.DNSError
	switch {
	case !errors.As(err, &d):
		return err
	case d.IsTimeout:
		return errors.New("no DNS server answers")
	case d.IsNotFound:
		return errors.New("DNS knows no such name")
	}
	return errors.New(d.Err)
}

// ttl is the least time that the answers of a lookup hold. A and AAAA are asked for at once.
type ttl struct {
	mu    sync.Mutex
	known bool
	value time.Duration
}

func (t *ttl) least() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known {
		return 0
	}
	return max(t.value, 1) // 0 says that nobody knows
}

// note takes the TTLs of a message, which may be anybody's: they do nothing but bound a wait that has bounds.
func (t *ttl) note(b []byte) {
	var p dnsmessage.Parser
	if h, err := p.Start(b); err != nil || !h.Response || p.SkipAllQuestions() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		h, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		if d := time.Duration(h.TTL) * time.Second; !t.known || d < t.value {
			t.known, t.value = true, d
		}
	}
}

// overheard is a connection to a DNS server whose answers are read along.
type overheard struct {
	*net.UDPConn
	ttl *ttl
}

func (c *overheard) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	if err == nil {
		c.ttl.note(b[:n])
	}
	return n, err
}
