package begin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/diag"
)

// Terminal asks the questions. It works by lines, so that it serves over any connection.
type Terminal struct {
	In       *bufio.Reader
	Out      io.Writer
	Secret   func() (string, error)                // reads a line without showing it
	ReadFile func(name string) ([]byte, error)     // reads a file that an answer names
	Warn     func(ps diag.Problems, out io.Writer) // prints problems
}

// errEnded is the end of the input before all questions are answered.
var errEnded = errors.New("the input ended before all questions were answered; nothing was written")

// Ask asks for everything that a does not say yet.
func (t *Terminal) Ask(a *Answers) error {
	for {
		needs := a.Needs()
		if len(needs) == 0 {
			return nil
		}
		if err := t.need(a, needs[0]); err != nil {
			return err
		}
	}
}

func (t *Terminal) need(a *Answers, n Need) error {
	which := "customer's gateway"
	section := a.Customer
	if n.Cloud {
		which, section = "cloud's gateway", a.Gateways
	}
	at := section[n.ID]
	if at == nil {
		at = &Gateway{}
	}
	keep := func(err error) error { section[n.ID] = at; return err }
	addresses := func(count int) func(string) error {
		return func(s string) (err error) { at.Addresses, err = Addresses(s, count); return err }
	}
	switch n.Kind {
	case Body:
		return t.body(a)
	case Address:
		name, take := "", addresses(1)
		if n.Cloud != (a.Side == config.Cloud) { // of this end only an address will do
			name, take = ", or its name", at.Place
		}
		return keep(t.ask(fmt.Sprintf("Public address of the %s %s%s, such as 198.51.100.1", which, n.ID, name), "", take))
	case TwoAddresses:
		return keep(t.ask(fmt.Sprintf("Public addresses of the %s %s, the master's and the slave's, such as 198.51.100.2,198.51.100.3", which, n.ID), "", addresses(2)))
	case ASN:
		return keep(t.ask(fmt.Sprintf("BGP's AS number of the %s %s, such as 65010", which, n.ID), "", func(s string) (err error) { at.ASN, err = AS(s); return err }))
	case PSK:
		return t.psk(a, n.Count)
	case Routes:
		other := "cloud"
		if a.Side == config.Cloud {
			other = "customer"
		}
		return t.ask("Networks behind the "+other+"'s gateway that go into the tunnel, such as 10.10.0.0/16,10.11.0.0/16; none: for nothing", "", func(s string) (err error) {
			if a.Routes = []netip.Prefix{}; s != "none" {
				a.Routes, err = Prefixes(s)
			}
			return err
		})
	}
	return t.ofNative(a.Native, n)
}

func (t *Terminal) ofNative(e *Native, n Need) error {
	nets := func(to *[]netip.Prefix) func(string) error {
		return func(s string) (err error) { *to, err = Prefixes(s); return err }
	}
	switch n.Kind {
	case LocalEnd:
		return t.ask("This end's address, as this host has it, such as 203.0.113.9", "", func(s string) error {
			as, err := Addresses(s, 1)
			if err == nil {
				e.Local = as[0]
			}
			return err
		})
	case RemoteEnd:
		return t.ask("The other end's public address, or its name, such as 198.51.100.1", "", func(s string) (err error) { e.Remote, e.RemoteHost, err = Place(s); return err })
	case LocalNets:
		return t.ask("Networks behind this end, such as 192.168.3.0/24", "", nets(&e.LocalNets))
	}
	return t.ask("Networks behind the other end, such as 10.10.0.0/16", "", nets(&e.RemoteNets))
}

// body asks for the body, and for the dialect where its keys do not say it.
func (t *Terminal) body(a *Answers) error {
	err := t.ask("The request body that created the connection, or the cloud's answer that describes it: the name of a file, or the text itself, or native for another kind of peer", "", func(s string) (err error) {
		if s == "native" {
			a.Native = &Native{}
			return nil
		}
		if a.Body, err = t.bodyText(s); err != nil {
			return err
		}
		if a.dialect() == nil {
			if err := t.ask("Which cloud is it of: "+strings.Join(Dialects(), ", "), "", func(s string) error {
				a.Dialect = s
				if a.dialect() == nil {
					a.Dialect = ""
					return fmt.Errorf("%q is none of these", s)
				}
				return nil
			}); err != nil {
				return err
			}
		} else if a.Dialect == "" {
			fmt.Fprintf(t.Out, "It is of %s.\n", a.dialect().Name)
		}
		if ps := a.Check(); ps.Failed() {
			t.Warn(ps, t.Out)
			a.Body, a.Dialect = nil, ""
			return errors.New("this body cannot be used")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if a.Native != nil {
		return nil
	}
	return t.ask("Which end is this host: customer (an office) or cloud", "customer", func(s string) error {
		side, ok := map[string]config.Side{"customer": config.Customer, "cloud": config.Cloud}[s]
		if !ok {
			return fmt.Errorf("%q is neither customer nor cloud", s)
		}
		a.Side = side
		return nil
	})
}

// maxBody bounds a body.
const maxBody = 1 << 20

// bodyText is the file that an answer names, or the text that begins with it: JSON to its end, a request to
// an empty line behind its parameters.
func (t *Terminal) bodyText(s string) ([]byte, error) {
	if !strings.HasPrefix(s, "{") {
		if strings.Contains(s, "Action=") {
			return []byte(s + "\n"), nil
		}
		return t.ReadFile(s)
	}
	text := s + "\n"
	for !json.Valid([]byte(text)) {
		line, err := t.In.ReadString('\n')
		if text += line; len(text) > maxBody {
			return nil, fmt.Errorf("it is longer than %d bytes", maxBody)
		}
		if err != nil || strings.TrimSpace(line) == "" {
			return nil, errors.New("this JSON is not complete")
		}
	}
	return []byte(text), nil
}

func (t *Terminal) psk(a *Answers, count int) error {
	for i := range count {
		what := "The pre-shared key"
		if count > 1 {
			what = fmt.Sprintf("The pre-shared key of tunnel %d of %d", i+1, count)
		}
		for {
			fmt.Fprintf(t.Out, "%s; what you type is not shown: ", what)
			s, err := t.Secret()
			fmt.Fprintln(t.Out)
			if err != nil {
				return errEnded
			}
			if s != "" {
				a.PSKs = append(a.PSKs, s)
				break
			}
			fmt.Fprintln(t.Out, "  A key has one character at least.")
		}
	}
	return nil
}

// ask asks until take accepts the answer; otherwise is the answer to an empty line.
func (t *Terminal) ask(question, otherwise string, take func(string) error) error {
	for {
		fmt.Fprint(t.Out, question)
		if otherwise != "" {
			fmt.Fprintf(t.Out, " [%s]", otherwise)
		}
		fmt.Fprint(t.Out, ": ")
		line, err := t.In.ReadString('\n')
		if err != nil && line == "" {
			fmt.Fprintln(t.Out)
			return errEnded
		}
		if line = strings.TrimSpace(line); line == "" {
			line = otherwise
		}
		if line == "" {
			fmt.Fprintln(t.Out, "  There must be an answer; Ctrl-C ends this, and nothing is written.")
			continue
		}
		err = take(line)
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		fmt.Fprintf(t.Out, "  %v.\n", err)
	}
}

// Addresses are count addresses with commas between them.
func Addresses(s string, count int) ([]netip.Addr, error) {
	var out []netip.Addr
	for part := range strings.SplitSeq(s, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return nil, fmt.Errorf("%q is not the address of a host, such as 198.51.100.1", part)
		}
		out = append(out, a.Unmap())
	}
	if count > 0 && len(out) != count {
		return nil, fmt.Errorf("%d addresses are given, and %d needed", len(out), count)
	}
	return out, nil
}

// Place is where a gateway is: an address, or a name in DNS. A word without a dot is more likely a slip.
func Place(s string) (netip.Addr, string, error) {
	if name, ok := dialect.ParseHostName(s); ok && strings.Contains(name, ".") {
		return netip.Addr{}, name, nil
	}
	as, err := Addresses(s, 1)
	if err != nil {
		return netip.Addr{}, "", fmt.Errorf("%w, or a name, such as gw.example.net", err)
	}
	return as[0], "", nil
}

// Place sets where the gateway is.
func (g *Gateway) Place(s string) error {
	a, name, err := Place(s)
	if g.Addresses, g.Host = nil, name; a.IsValid() {
		g.Addresses = []netip.Addr{a}
	}
	return err
}

// Prefixes are networks with commas between them.
func Prefixes(s string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network, such as 10.10.0.0/16", part)
		}
		if p.Masked() != p {
			return nil, fmt.Errorf("%v has bits behind its mask; the network is %v", p, p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

// AS is an AS number, plain or as two halves (1.10).
func AS(s string) (string, error) {
	if n, err := dialect.ParseASN(s); err != nil || n == 0 {
		return "", fmt.Errorf("%q is not an AS number, such as 65010", s)
	}
	return s, nil
}
