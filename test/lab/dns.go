package lab

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a server of names on UDP port 53.
type DNS struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
	dead  bool
}

// DNS starts a server of names at an address of the namespace.
func (n *Namespace) DNS(address string) *DNS {
	n.lab.Helper()
	d := &DNS{names: map[string][]netip.Addr{}}
	var c *net.UDPConn
	var err error
	n.Do(func() { c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address), Port: 53}) })
	if err != nil {
		n.lab.Fatalf("%s: DNS: %v", n.role, err)
	}
	done := make(chan struct{})
	n.lab.onClose(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			size, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if out := d.answer(b[:size]); out != nil {
				c.WriteToUDPAddrPort(out, from)
			}
		}
	}()
	return d
}

// Set gives a name addresses, in this order, with a TTL of 5 s; none: there is no such name.
func (d *DNS) Set(name string, addresses ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = false
	delete(d.names, name+".")
	for _, a := range addresses {
		d.names[name+"."] = append(d.names[name+"."], netip.MustParseAddr(a))
	}
}

// Die has the server answer nobody, until Set.
func (d *DNS) Die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
}

func (d *DNS) answer(b []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(b) != nil || len(m.Questions) != 1 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	q := m.Questions[0]
	addrs := d.names[q.Name.String()]
	if d.dead {
		return nil
	}
	m.Response, m.Additionals = true, nil
	if len(addrs) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 5}
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, _ := m.Pack()
	return out
}

// netnsFiles has a directory for each namespace, whose files `ip netns exec` puts in the place of /etc's.
const netnsFiles = "/etc/netns"

// Resolves has programs that start in the namespace from now on ask a DNS server.
func (n *Namespace) Resolves(server string) {
	n.lab.Helper()
	dir := filepath.Join(netnsFiles, n.Name)
	n.lab.onClose(func() { os.RemoveAll(dir) })
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver "+server+"\noptions timeout:1 attempts:1\n"), 0o644)
	}
	if err != nil {
		n.lab.Fatalf("%s: %v", n.role, err)
	}
}
