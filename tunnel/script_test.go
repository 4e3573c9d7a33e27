package tunnel

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

func addrPort(s string) netip.AddrPort { return netip.AddrPortFrom(addr(s), 4500) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// tunnelOf is the one tunnel of a connection, between two subnets.
func tunnelOf(name, local, remote string) Config {
	c := &config.Connection{Name: name, Tunnels: []config.Tunnel{{
		Name: name, Role: config.Single, Start: config.StartActive,
		Local:  config.End{Address: addr("203.0.113.9"), Subnets: prefixes(strings.Fields(local)...)},
		Remote: config.End{Address: addr("198.51.100.1"), Subnets: prefixes(strings.Fields(remote)...)},
		Routes: prefixes(strings.Fields(remote)...),
	}}}
	return Config{Conn: c, Tunnel: &c.Tunnels[0], Device: "dev-" + name}
}

func hq() Config { return tunnelOf("hq", "192.168.3.0/24", "10.10.0.0/16") }

// inner is the Inner of a data plane whose ESP adds 60 bytes to a packet.
func inner(outer int, _ *ipsec.ChildSA, _ ipsec.Path) int { return max(0, outer-60) }

// script drives a Group as the gateway does, and writes down what the Group wants.
type script struct {
	t *testing.T
	*Group
	now     time.Time
	trace   []string
	blocked map[string]diag.Cause // answers Want, by tunnel
	refused bool                  // answers Want
	mtu     int                   // answers Measure
	probes  []Probe               // that nobody has answered yet
	spi     uint32
	changed Changed         // the last one
	pong    func(Ping) bool // whether a Ping is answered, at once; nil: none is
	bfd     func(BFDSend)   // gets BFD packets; nil: nobody does
}

// changes are the changes of state that all scripts of this run have seen.
var changes = map[[2]State]bool{}

func newScript(t *testing.T, tunnels ...Config) *script {
	s := &script{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), blocked: map[string]diag.Cause{}, mtu: 1500}
	s.Group = New(s.now, tunnels, []netip.Addr{addr("203.0.113.9"), addr("192.168.3.1")}, inner)
	s.step()
	return s
}

// facts notes facts and calls Advance.
func (s *script) facts(fs ...Fact) {
	s.t.Helper()
	for _, f := range fs {
		s.Note(s.now, f)
		s.drain()
	}
	s.step()
}

// step calls Advance until the Group has no more Actions.
func (s *script) step() {
	s.t.Helper()
	for range 8 {
		s.Advance(s.now)
		if !s.drain() {
			return
		}
	}
	s.t.Error("the Group does not come to rest")
}

// wait lets time pass, and calls Advance when the Group wants it.
func (s *script) wait(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for n := 0; ; n++ {
		due := s.Deadline()
		if due.IsZero() || due.After(end) {
			break
		}
		if n > 1000 {
			s.t.Fatal("the Group has a deadline that does not move")
		}
		if due.After(s.now) {
			s.now = due
		}
		s.step()
	}
	s.now = end
}

// drain performs the Actions; false: there was none.
func (s *script) drain() bool {
	any := false
	for a := s.Next(); a != nil; a = s.Next() {
		any = true
		s.trace = append(s.trace, text(a))
		switch a := a.(type) {
		case Ping:
			if s.pong != nil && s.pong(a) {
				s.Note(s.now, Pong{a.Tunnel, a.ID, a.Seq})
			}
		case BFDSend:
			if s.bfd != nil {
				s.bfd(a)
			}
		case Measure:
			s.Note(s.now, PathMTU{a.Remote, s.mtu})
		case Probe:
			s.probes = append(s.probes, a)
		case Want:
			s.Note(s.now, Applied{s.blocked, s.refused})
		case Changed:
			s.changed = a
			changes[[2]State{a.Was, a.State}] = true
		}
	}
	return any
}

// text is an Action in a line.
func text(a Action) string {
	switch a := a.(type) {
	case Open:
		return "open " + a.Tunnel
	case Measure:
		return "measure " + a.Remote.String()
	case Fit:
		return fmt.Sprintf("fit %s %d", a.Tunnel, a.MTU)
	case Initiate:
		switch {
		case !a.On:
			return a.Tunnel + ": the peer initiates"
		case a.Anew:
			return a.Tunnel + ": initiate anew"
		}
		return a.Tunnel + ": initiate"
	case Ping:
		return fmt.Sprintf("ping %s %v -> %v seq %d", a.Tunnel, a.Source, a.Target, a.Seq)
	case Switched:
		return fmt.Sprintf("%s -> %s (%s)", a.From, a.To, a.Cause.Code)
	case Probe:
		return fmt.Sprintf("probe %s %d", a.Tunnel, a.Size)
	case BFDSend:
		return fmt.Sprintf("bfd %s %v", a.Tunnel, dpd.BFDState(a.Packet[1]>>6))
	case Neighbour:
		if a.Reachable {
			return a.Tunnel + " reaches its neighbour"
		}
		return a.Tunnel + " does not reach its neighbour"
	case Reconnect:
		return fmt.Sprintf("reconnect %s: %v", a.Tunnel, a.Cause)
	case Changed:
		was := string(a.Was)
		if was == "" {
			was = "new"
		}
		out := fmt.Sprintf("%s: %s -> %s", a.Tunnel, was, a.State)
		if !a.Cause.OK() {
			out += " (" + string(a.Cause.Code) + ")"
		}
		return out
	case Want:
		out := "want"
		for _, d := range a.Devices {
			out += fmt.Sprintf(" %s/%d", d.Device, d.MTU)
			if d.Metric != 0 {
				out += fmt.Sprintf(" metric %d", d.Metric)
			}
			if d.Address.IsValid() {
				out += fmt.Sprintf(" at %v", d.Address)
			}
			if d.ByFlow {
				out += " by flow"
			}
			for _, r := range d.Routes {
				out += fmt.Sprintf(" %v", r.Prefix)
				if r.Source.IsValid() {
					out += fmt.Sprintf(" src %v", r.Source)
				}
			}
		}
		return out
	}
	return fmt.Sprint(a)
}

// wants compares what the Group did since the last call, and forgets it.
func (s *script) wants(want ...string) {
	s.t.Helper()
	if !slices.Equal(s.trace, want) {
		s.t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(s.trace, "\n\t"), strings.Join(want, "\n\t"))
	}
	s.trace = nil
}

// stands compares a tunnel's state and the code of its cause.
func (s *script) stands(tunnel string, state State, code diag.Code) {
	s.t.Helper()
	st, ok := s.Status(tunnel)
	if !ok || st.State != state || st.Cause.Code != code {
		s.t.Errorf("%s: got %s (%s: %v), want %s (%s)", tunnel, st.State, st.Cause.Code, st.Cause, state, code)
	}
	s.trace = nil
}

func device(tunnel string) Fact { return Device{Tunnel: tunnel} }

// child is a Child SA of a tunnel.
func (s *script) child(tunnel, local, remote string) *ipsec.ChildSA {
	s.spi++
	return &ipsec.ChildSA{
		Tunnel: tunnel, Child: tunnel, SPIIn: s.spi, Suite: ipsec.Suite{Encr: ipsec.ByName("aes128gcm16").Transform},
		Local: selectors(local), Remote: selectors(remote),
		Path: ipsec.Path{Remote: netip.MustParseAddrPort("198.51.100.1:4500"), UDP: true},
	}
}

// installed are the facts of a Child SA that carries both ways.
func installed(c *ipsec.ChildSA) []Fact {
	return []Fact{IKE{c.Tunnel, sa.ChildIn{SA: c}}, IKE{c.Tunnel, sa.ChildOut{SA: c}}}
}

// gone is the fact of its end.
func gone(c *ipsec.ChildSA) Fact {
	return IKE{c.Tunnel, sa.ChildGone{SA: c, Why: diag.Cause{Code: diag.PeerDead}}}
}

// up installs a Child SA for the whole of a tunnel.
func (s *script) up(tunnel, local, remote string) *ipsec.ChildSA {
	c := s.child(tunnel, local, remote)
	s.facts(installed(c)...)
	return c
}

func ikeSAOf(spi uint64) sa.IKESA {
	return sa.IKESA{SPIi: spi, Initiator: true, Path: ipsec.Path{
		Local: netip.MustParseAddrPort("203.0.113.9:500"), Remote: netip.MustParseAddrPort("198.51.100.1:500"), UDP: true,
	}}
}

func refusedBy(code diag.Code) sa.IKEFailed { return sa.IKEFailed{Cause: diag.Cause{Code: code}} }

// Each state, and each change between two states, is in some transcript.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && !slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.run") || strings.HasPrefix(a, "-test.bench=") || strings.HasPrefix(a, "-test.list")
	}) {
		all := []State{Up, Degraded, Connecting, Waiting, Down}
		for _, a := range all {
			for _, b := range all {
				if a != b && !changes[[2]State{a, b}] {
					fmt.Printf("no transcript goes from %s to %s\n", a, b)
					code = 1
				}
			}
		}
	}
	os.Exit(code)
}
