package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/ipsec"
	"vpngw/tunnel"
)

// leaves are the paths of the fields of a struct type, those of an End and of a Switching one by one.
func leaves(t reflect.Type, prefix string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		if path := prefix + f.Name; f.Type == reflect.TypeFor[config.End]() || f.Type == reflect.TypeFor[config.Switching]() {
			out = append(out, leaves(f.Type, path+".")...)
		} else if f.Name != "Tunnels" {
			out = append(out, path)
		}
	}
	return out
}

func TestEveryFieldHasARowInThePlansTable(t *testing.T) {
	want := slices.Concat(leaves(reflect.TypeFor[config.Connection](), "Conn."), leaves(reflect.TypeFor[config.Tunnel](), "Tunnel."), []string{"Device"})
	var got []string
	for _, f := range fields {
		got = append(got, f.path)
	}
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("fields has no row for %s. Add one with its name for people, in gateway/fields.go, with idle: true while nothing that runs depends on it; "+
				"and a change of it to settings in gateway/plan_test.go", path)
		}
	}
	for _, path := range got {
		if !slices.Contains(want, path) {
			t.Errorf("fields has a row for %s, and config has no such field", path)
		}
		if _, ok := settings[path]; !ok && path != "Tunnel.Name" {
			t.Errorf("settings in gateway/plan_test.go has no change of %s: add one, with the class that you expect", path)
		}
	}
}

// settings are a change of each field, and its class.
var settings = map[string]struct {
	want   Class
	change func(c *config.Connection, t *config.Tunnel)
}{
	"Conn.Name":    {Live, func(c *config.Connection, _ *config.Tunnel) { c.Name = "office" }},
	"Conn.Dialect": {Nothing, func(c *config.Connection, _ *config.Tunnel) { c.Dialect = "huawei" }},
	"Conn.Side":    {Nothing, func(c *config.Connection, _ *config.Tunnel) { c.Side = config.Cloud }},
	"Conn.Routing": {Nothing, func(c *config.Connection, _ *config.Tunnel) { c.Routing = config.RouteDestination }},
	"Conn.Partial": {Nothing, func(c *config.Connection, _ *config.Tunnel) { c.Partial = true }},
	"Conn.Pair":    {Live, func(c *config.Connection, _ *config.Tunnel) { c.Pair = "two" }},

	"Conn.Switching.Hold":    {Live, func(c *config.Connection, _ *config.Tunnel) { c.Switching.Hold = time.Minute }},
	"Conn.Switching.Manual":  {Live, func(c *config.Connection, _ *config.Tunnel) { c.Switching.Manual = true }},
	"Conn.Switching.Balance": {Live, func(c *config.Connection, _ *config.Tunnel) { c.Switching.Balance = true }},

	"Tunnel.Role":           {Live, func(_ *config.Connection, t *config.Tunnel) { t.Role = config.Standby }},
	"Tunnel.Local.Address":  {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Local.Address = addr("192.168.3.1") }},
	"Tunnel.Local.Host":     {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Local.Host = "gw.example.org" }},
	"Tunnel.Local.Any":      {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Local.Any = true }},
	"Tunnel.Local.Port":     {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Local.Port = 4500 }},
	"Tunnel.Local.ID":       {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Local.ID = ipsec.ParseIdentity("hq.example.org") }},
	"Tunnel.Local.ASN":      {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Local.ASN = 64512 }},
	"Tunnel.Local.Subnets":  {Rekey, func(_ *config.Connection, t *config.Tunnel) { t.Local.Subnets = prefixes("192.168.3.0/25") }},
	"Tunnel.Remote.Address": {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Remote.Address = addr("198.51.100.2") }},
	"Tunnel.Remote.Host":    {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Remote.Host = "gw.example.org" }},
	"Tunnel.Remote.Any":     {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Remote.Any = true }},
	"Tunnel.Remote.Port":    {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Remote.Port = 4500 }},
	"Tunnel.Remote.ID":      {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Remote.ID = ipsec.ParseIdentity("gw.example.org") }},
	"Tunnel.Remote.ASN":     {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Remote.ASN = 64512 }},
	"Tunnel.Remote.Subnets": {Rekey, func(_ *config.Connection, t *config.Tunnel) { t.Remote.Subnets = prefixes("10.10.0.0/17") }},
	"Tunnel.Inside":         {Live, func(_ *config.Connection, t *config.Tunnel) { t.Inside = prefixes("169.254.1.1/30")[0] }},
	"Tunnel.Peer":           {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Peer = addr("169.254.1.2") }},
	"Tunnel.IKEVersion":     {Restart, func(_ *config.Connection, t *config.Tunnel) { t.IKEVersion = 0 }},
	"Tunnel.Aggressive":     {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Aggressive = true }},
	"Tunnel.PSK":            {Restart, func(_ *config.Connection, t *config.Tunnel) { t.PSK = ipsec.Secret("battery staple") }},
	"Tunnel.IKEProposals": {Restart, func(_ *config.Connection, t *config.Tunnel) {
		t.IKEProposals = proposals(ipsec.ProtoIKE, "aes256-sha256-x25519")
	}},
	"Tunnel.IKELifetime": {Live, func(_ *config.Connection, t *config.Tunnel) { t.IKELifetime = 2 * time.Hour }},
	"Tunnel.ESPProposals": {Rekey, func(_ *config.Connection, t *config.Tunnel) {
		t.ESPProposals = proposals(ipsec.ProtoESP, "aes256gcm16")
	}},
	"Tunnel.ESPLifetime": {Rekey, func(_ *config.Connection, t *config.Tunnel) { t.ESPLifetime.Time = time.Minute }},
	"Tunnel.Children":    {Rekey, func(_ *config.Connection, t *config.Tunnel) { t.Children = config.Pairs }},
	"Tunnel.Pairs": {Rekey, func(_ *config.Connection, t *config.Tunnel) {
		t.Pairs = []config.Pair{{Local: t.Local.Subnets[0], Remote: t.Remote.Subnets[0]}}
	}},
	"Tunnel.Trunc96":    {Rekey, func(_ *config.Connection, t *config.Tunnel) { t.Trunc96 = true }},
	"Tunnel.NATT":       {Restart, func(_ *config.Connection, t *config.Tunnel) { t.NATT = false }},
	"Tunnel.Encap":      {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Encap = config.EncapAlways }},
	"Tunnel.CopyDSCP":   {Live, func(_ *config.Connection, t *config.Tunnel) { t.CopyDSCP = false }},
	"Tunnel.DPD":        {Live, func(_ *config.Connection, t *config.Tunnel) { t.DPD.Interval = 7 * time.Second }},
	"Tunnel.Start":      {Live, func(_ *config.Connection, t *config.Tunnel) { t.Start = config.StartPassive }},
	"Tunnel.Device":     {Nothing, func(_ *config.Connection, t *config.Tunnel) { t.Device = "vpngw0" }}, // it has this one
	"Device":            {Restart, func(_ *config.Connection, t *config.Tunnel) { t.Device = "office" }},
	"Tunnel.Routes":     {Live, func(_ *config.Connection, t *config.Tunnel) { t.Routes = prefixes("10.10.0.0/24") }},
	"Tunnel.Pass":       {Live, func(_ *config.Connection, t *config.Tunnel) { t.Pass = true }},
	"Tunnel.Metric":     {Live, func(_ *config.Connection, t *config.Tunnel) { t.Metric = 100 }},
	"Tunnel.MTU":        {Live, func(_ *config.Connection, t *config.Tunnel) { t.MTU = 1300 }},
	"Tunnel.DF":         {Live, func(_ *config.Connection, t *config.Tunnel) { t.DF = config.DFClear }},
	"Tunnel.EarlyRekey": {Live, func(_ *config.Connection, t *config.Tunnel) { t.EarlyRekey = true }},
	"Tunnel.BGP":        {Live, func(_ *config.Connection, t *config.Tunnel) { t.BGP = &config.BGP{} }},
	"Tunnel.Health":     {Live, func(_ *config.Connection, t *config.Tunnel) { t.Health = &config.Health{} }},
	"Tunnel.OwnHealth":  {Live, func(_ *config.Connection, t *config.Tunnel) { t.OwnHealth = &config.Health{} }},
}

// standing is what of a tunnel a change can touch.
type standing struct {
	tun      *fakeTUN
	ike      string
	children []string
	group    *group
	sets     int
}

func (r *running) standing(name string) standing {
	r.Helper()
	var s standing
	r.loop(func() {
		e := r.fleet.byName[name]
		s.tun, s.group = r.host.tun(e.device), e.group
	})
	s.sets = r.host.sets
	st := r.tunnelStatus(name)
	if st.IKE != nil {
		s.ike = st.IKE.SPIi
	}
	for _, c := range st.Children {
		s.children = append(s.children, c.SPIIn)
	}
	return s
}

// happened judges by what became of a tunnel, not by its settings.
func happened(was, is standing) Class {
	gone := slices.ContainsFunc(was.children, func(spi string) bool { return !slices.Contains(is.children, spi) })
	switch {
	case was.tun.closed() || was.tun != is.tun || was.ike != is.ike:
		return Restart
	case gone:
		return Rekey
	case was.group != is.group || was.sets != is.sets:
		return Live
	}
	return Nothing
}

// Each field is changed while two gateways have a tunnel. What happens is the class that the plan gave, and nothing
// happens to the other connection.
func TestWhatHappensIsWhatThePlanSays(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(settings)) {
		row := settings[path]
		name := ""
		for _, f := range fields {
			if f.path == path {
				name = f.name
			}
		}
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet()
				other := lab()
				other.Tunnels[0].Remote.ID = ipsec.ParseIdentity("lab.example.org") // an IKE SA of its own
				customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1", "192.168.4.1"), configOf(hq(), other), Options{Lookup: (&dns{err: errors.New("none")}).lookup})
				defer customer.stop()
				cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1", "10.20.0.1"), configOf(mirror(hq()), mirror(other)), Options{})
				defer cloud.stop()
				time.Sleep(40 * time.Second)
				customer.wantState("hq", tunnel.Up)
				customer.wantState("lab", tunnel.Up)
				before, beside := customer.standing("hq"), customer.standing("lab")

				changed := hq()
				row.change(changed, &changed.Tunnels[0])
				next := configOf(changed, other)
				plan, err := customer.Plan(context.Background(), next)
				if err != nil {
					t.Fatal(err)
				}
				if now := customer.standing("hq"); happened(before, now) != Nothing {
					t.Error("the plan itself changed something")
				}
				if len(plan.Connections) != 1 || plan.Unchanged != 1 || len(plan.Connections[0].Tunnels) != 1 {
					t.Fatalf("got plan %+v, want one tunnel changed", plan)
				}
				c := plan.Connections[0].Tunnels[0]
				if want := []FieldChange{{name, row.want}}; c.Class != row.want || !reflect.DeepEqual(c.Fields, want) {
					t.Errorf("got %s for %v, want %s for %v", c.Class, c.Fields, row.want, want)
				}
				done, err := customer.Adopt(context.Background(), next)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(done.Plan, plan) {
					t.Errorf("done: %+v\nplan: %+v", done.Plan, plan)
				}
				time.Sleep(40 * time.Second) // Child SAs that the peer refuses others for carry on for 30 s
				if got := happened(before, customer.standing("hq")); got != c.Class {
					t.Errorf("%s happened, and the plan said %s", got, c.Class)
				}
				time.Sleep(40 * time.Second)
				customer.wantState("lab", tunnel.Up)
				now := customer.standing("lab")
				now.sets = beside.sets // counts for both
				if got := happened(beside, now); got != Nothing {
					t.Errorf("%s happened to the other connection", got)
				}
				if row.want == Nothing || row.want == Live {
					if customer.wantState("hq", tunnel.Up); happened(before, customer.standing("hq")) != row.want {
						t.Error("a while later it is not so any more")
					}
				}
			})
		})
	}
}

func TestPlanNamesWhatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := lab()
		two.Tunnels = append(two.Tunnels, two.Tunnels[0])
		two.Tunnels[0].Name, two.Tunnels[1].Name = "lab-1", "lab-2"
		two.Tunnels[1].Remote.Address = addr("198.51.100.2")
		r := start(t, officeHost(), configOf(hq(), two, connection("old", "192.168.3.0/24", "10.40.0.0/16")), Options{})
		defer r.stop()
		one := lab()
		one.Tunnels = two.Tunnels[1:]
		thief := connection("new", "192.168.3.0/24", "10.50.0.0/16")
		thief.Tunnels[0].Device = "vpngw0" // hq's, which gets another
		next := configOf(hq(), one, thief)
		next.Threads = 3
		got, err := r.Plan(context.Background(), next)
		want := Plan{DaemonRestart: []string{"threads"}, Connections: []ConnectionChange{
			{"hq", Changed, Restart, []TunnelChange{{"hq", Changed, Restart, []FieldChange{{"device", Restart}}}}},
			{"new", Added, "", []TunnelChange{{"new", Added, "", nil}}},
			{"lab", Changed, "", []TunnelChange{{"lab-1", Removed, "", nil}}},
			{"old", Removed, "", []TunnelChange{{"old", Removed, "", nil}}},
		}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
		next.Threads = 0
		if done := r.adopt(next.Connections...); !reflect.DeepEqual(done.Plan.Connections, want.Connections) {
			t.Errorf("adopted: %+v", done.Plan)
		}
	})
}

func TestTheDSCPSettingChangesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet()
		customer := startReal(t, newHost(n, "203.0.113.9", "192.168.3.1"), configOf(hq()), Options{})
		defer customer.stop()
		cloud := startReal(t, newHost(n, "198.51.100.1", "10.10.0.1"), configOf(mirror(hq())), Options{})
		defer cloud.stop()
		time.Sleep(40 * time.Second)
		customer.wantState("hq", tunnel.Up)
		const ef = 46 << 2
		for _, copied := range []bool{true, false, true} {
			c := hq()
			c.Tunnels[0].CopyDSCP = copied
			customer.adopt(c)
			p := udpPacket(addr("192.168.3.7"), addr("10.10.0.7"), 1)
			p[1] = ef
			binary.BigEndian.PutUint16(p[10:], binary.BigEndian.Uint16(p[10:])-ef) // the checksum
			customer.host.tun("vpngw0").put(p)
			synctest.Wait()
			n.mu.Lock()
			got := n.sent[len(n.sent)-1].TOS
			n.mu.Unlock()
			if want := map[bool]uint8{true: ef}[copied]; got != want {
				t.Errorf("copied %v: got TOS %#x, want %#x", copied, got, want)
			}
		}
	})
}
