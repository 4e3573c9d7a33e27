package test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// planned is the output of `vpngw reload --plan --json`. It follows the documentation.
type planned struct {
	Connections []struct {
		Name    string `json:"name"`
		Change  string `json:"change"`
		Class   string `json:"class"`
		Tunnels []struct {
			Name   string `json:"name"`
			Change string `json:"change"`
			Class  string `json:"class"`
			Fields []struct {
				Field string `json:"field"`
				Class string `json:"class"`
			} `json:"fields"`
		} `json:"tunnels"`
	} `json:"connections"`
	Unchanged int `json:"unchanged"`
}

// line is what a plan says of its one change.
func (p planned) line() string {
	if len(p.Connections) != 1 {
		return fmt.Sprintf("%d change, %d as before", len(p.Connections), p.Unchanged)
	}
	c := p.Connections[0]
	out := strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Name, c.Change, c.Class))
	for _, f := range c.Tunnels[0].Fields {
		out += fmt.Sprintf(", %s %s", f.Field, f.Class)
	}
	return fmt.Sprintf("%s; %d as before", out, p.Unchanged)
}

// saKeys are what a change can replace in each tunnel.
type saKeys struct{ IKE, Child, Device string }

// keysOf are the keys of all tunnels, each of which must have one pair of SAs.
func keysOf(t *testing.T, gw *lab.Vpngw) map[string]saKeys {
	t.Helper()
	out := map[string]saKeys{}
	for _, c := range gw.Status().Connections {
		u := c.Tunnels[0]
		if u.IKE == nil || len(u.Children) != 1 {
			t.Fatalf("%s has not one pair of SAs: %+v", u.Name, u)
		}
		out[u.Name] = saKeys{u.IKE.SPIi, u.Children[0].SPIIn, u.Device}
	}
	return out
}

// What a plan says of a change of 1 in 100 connections is what happens to it, and the other 99 keep their SAs and devices and
// lose no packet. A reload on trial goes back after its time, and when the daemon is killed.
func TestLiveChanges(t *testing.T) {
	const n = 100
	last := n - 1
	l := lab.Direct(t)
	// The last connection carries the flow between the hosts' own networks, and two have networks of their own there: c0, which
	// is changed, and c5, which is not.
	for _, i := range []int{0, 5} {
		block := fmt.Sprintf("10.64.%d.", i)
		l.Customer.Address("lan", block+"1/25")
		l.Host.Address("eth0", block+"10/25")
		l.Cloud.Address("lan", block+"129/25")
		l.CloudHost.Address("eth0", block+"140/25")
	}
	fleet := func(initiate bool, change func(c0 *lab.Connection)) lab.Config {
		return many(n, initiate, func(i int, c *lab.Connection) {
			if i == last {
				c.Native.Local.Subnets, c.Native.Remote.Subnets = []string{lab.CustomerLAN}, []string{lab.CloudLAN}
				if !initiate {
					c.Native.Local.Subnets, c.Native.Remote.Subnets = c.Native.Remote.Subnets, c.Native.Local.Subnets
				}
			}
			if i == 0 && change != nil {
				change(c)
			}
		})
	}
	cloud := l.Cloud.Vpngw(fleet(false, nil))
	gw := l.Customer.Vpngw(fleet(true, nil))
	allUp := func() {
		t.Helper()
		l.Await(lab.Patience, "all tunnels are up", func() (bool, string) {
			up := 0
			for _, c := range gw.Status().Connections {
				if c.Tunnels[0].State == "up" && len(c.Tunnels[0].Children) == 1 {
					up++
				}
			}
			return up == n, fmt.Sprintf("%d of %d", up, n)
		})
	}
	allUp()
	flows := []*lab.Flow{
		l.StartFlow(l.Host, "10.64.5.10", l.CloudHost, "10.64.5.140", 300),
		l.StartFlow(l.Host, lab.CustomerHost, l.CloudHost, lab.CloudHost, 300),
	}
	if soak { // of c0 it is only told what was lost
		flows = append(flows, l.StartFlow(l.Host, "10.64.0.10", l.CloudHost, "10.64.0.140", 300))
	}
	flown := func() {
		t.Helper()
		var want [][2]int
		for _, f := range flows {
			there, back := f.Received()
			want = append(want, [2]int{there + 100, back + 100})
		}
		l.Await(lab.Patience, "the flows go on", func() (bool, string) {
			for i, f := range flows {
				if there, back := f.Received(); there < want[i][0] || back < want[i][1] {
					return false, fmt.Sprintf("flow %d: %d and %d", i, there, back)
				}
			}
			return true, ""
		})
	}
	// adopted has what happens observed: to c0 what is wanted, to the others nothing.
	was := keysOf(t, gw)
	adopted := func(want string) {
		t.Helper()
		l.Await(lab.Patience, "c0 has been changed: "+want, func() (bool, string) {
			u := gw.Tunnel("c0")
			if u.IKE == nil || len(u.Children) != 1 || u.State != "up" {
				return false, u.State
			}
			got := "live"
			switch old := was["c0"]; {
			case u.IKE.SPIi != old.IKE || u.Device != old.Device:
				got = "restart"
			case u.Children[0].SPIIn != old.Child:
				got = "rekey"
			}
			return got == want, got
		})
		is := keysOf(t, gw)
		was["c0"] = is["c0"]
		if !reflect.DeepEqual(is, was) {
			t.Errorf("other connections were touched: %v, were %v", is, was)
		}
		was = is
		flown()
	}
	plan := func(want string) {
		t.Helper()
		var p planned
		_, text, _ := strings.Cut("\n"+gw.Command("reload", "--plan", "--json"), "\n{") // the file's warnings come before
		if err := json.Unmarshal([]byte("{"+text), &p); err != nil {
			t.Fatal(err)
		}
		got := p.line()
		if got != want {
			t.Errorf("got plan %q, want %q", got, want)
		}
		t.Logf("plan: %s", got)
		if is := keysOf(t, gw); !reflect.DeepEqual(is, was) {
			t.Error("the plan itself changed something")
		}
	}
	says := func(want string) {
		t.Helper()
		got := ""
		if r := gw.Status().Reload; r != nil {
			got = r.State
			if text := strings.Join(strings.Fields(gw.Command("status")), " "); r.Note == "" || !strings.Contains(text, r.Note) {
				t.Errorf("status does not say in words: %q", r.Note)
			}
		}
		if got != want {
			t.Errorf("status says %q of the last reload, want %q", got, want)
		}
	}
	lifetime := func(of string) lab.Config {
		return fleet(true, func(c *lab.Connection) { c.Native.ESP.Lifetime = of })
	}
	flown()

	plan("0 change, 100 as before")
	for _, change := range []struct {
		plan, class string
		c           lab.Config
	}{
		{"c0 changed live, routes live; 99 as before", "live", fleet(true, func(c *lab.Connection) {
			c.Routes = []string{"10.64.0.128/25", "10.99.0.0/24"}
		})},
		{"c0 changed rekey, ESP lifetime rekey, routes live; 99 as before", "rekey", lifetime("23h")},
		{"c0 changed live, IKE lifetime live; 99 as before", "live", fleet(true, func(c *lab.Connection) {
			c.Native.ESP.Lifetime, c.Native.IKE.Lifetime = "23h", "20h"
		})},
		{"c0 changed restart, IKE proposals restart, IKE lifetime live, ESP lifetime rekey; 99 as before", "restart", fleet(true, func(c *lab.Connection) {
			c.Native.IKE.Proposals = append(c.Native.IKE.Proposals, "aes256-sha256-x25519")
		})},
	} {
		gw.Write(change.c)
		plan(change.plan)
		gw.Command("reload")
		adopted(change.class)
	}

	// On trial and confirmed, it stays.
	gw.Write(lifetime("22h"))
	gw.Command("reload", "--confirm", "5s")
	says("unconfirmed")
	gw.Command("confirm")
	adopted("restart")

	// On trial and not confirmed, it goes back.
	gw.Write(lifetime("21h"))
	gw.Command("reload", "--confirm", "5s")
	began := time.Now()
	adopted("rekey")
	if out, err := gw.Try("reload"); err == nil || !strings.Contains(out, "waits for its confirmation") {
		t.Errorf("a reload meanwhile: %v, %s", err, out)
	}
	l.Await(lab.Patience, "the daemon has gone back", func() (bool, string) {
		r := gw.Status().Reload
		return r != nil && r.State == "gone-back", fmt.Sprint(r)
	})
	t.Logf("went back %v after the reload was asked for, of 5s", time.Since(began).Round(10*time.Millisecond))
	if time.Since(began) < 5*time.Second {
		t.Error("it went back too early")
	}
	adopted("rekey")
	says("gone-back")
	plan("c0 changed rekey, ESP lifetime rekey; 99 as before") // the file still has the new text
	if out, err := gw.Try("confirm"); err == nil || !strings.Contains(out, "too late") {
		t.Errorf("a late confirmation: %v, %s", err, out)
	}
	for i, f := range flows {
		there, back := f.Stop()
		if i < 2 {
			lossless(t, there, back)
		} else {
			t.Logf("c0, changed twice live, three times by a rekey, twice by a restart: there: %v; back: %v", there, back)
		}
	}
	flows = nil

	// Killed on trial, it goes back too, though the files have other texts by then.
	extra := lifetime("22h")
	extra.Connections = append(slices.Clone(extra.Connections), many(n+1, true, nil).Connections[n])
	gw.Write(extra)
	gw.Command("reload", "--confirm", "60s")
	if !strings.Contains(gw.Command("status"), fmt.Sprintf("c%d ", n)) {
		t.Error("the new connection is not there")
	}
	gw.Restart() // kills it
	says("gone-back")
	if strings.Contains(gw.Command("status"), fmt.Sprintf("c%d ", n)) {
		t.Error("after kill -9 the new connection runs, and nobody has confirmed it")
	}
	allUp()
	if !strings.Contains(gw.Log(), "was not confirmed") {
		t.Error("the log does not say that what runs is not the file's")
	}
	gw.Command("reload")
	says("")
	if !strings.Contains(gw.Command("status"), fmt.Sprintf("c%d ", n)) {
		t.Error("a reload does not adopt the file")
	}
	gw.Stop()
	cloud.Stop()
}
