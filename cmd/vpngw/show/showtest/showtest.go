// Package showtest makes statuses of many tunnels, for tests of what shows them.
package showtest

import (
	"fmt"
	"math"
	"time"

	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// names are of the kinds that a table has to cope with.
var names = []string{"hq", "branch-%d", "上海办公室-%d", "a-connection-with-a-rather-long-name-%d", "lab-%d", "zürich-%d"}

// Fleet is the status of n connections, of which every fifth has two tunnels. They began at one time, and have carried
// what they would have until now.
func Fleet(n int, begin, now time.Time) desired.Status {
	st := desired.Status{Status: gateway.Status{Connections: []gateway.ConnectionStatus{}}}
	for i := range n {
		name := names[i%len(names)]
		if i > 0 {
			if i%len(names) == 0 {
				name = "hq-%d"
			}
			name = fmt.Sprintf(name, i)
		}
		c := gateway.ConnectionStatus{Name: name, Dialect: "native", Side: "customer"}
		if i%5 == 4 {
			for j, role := range []string{"active", "standby"} {
				t := one(i, begin, now, fmt.Sprintf("%s-%d", name, j+1))
				t.Role, t.Active = role, j == 0
				c.Tunnels = append(c.Tunnels, t)
			}
		} else {
			c.Tunnels = []gateway.TunnelStatus{one(i, begin, now, name)}
		}
		st.Connections = append(st.Connections, c)
	}
	return st
}

func one(i int, begin, now time.Time, name string) gateway.TunnelStatus {
	up := now.Sub(begin).Seconds()
	load := float64(i%17) * 1e5 * (up + 20*math.Sin(up/7+float64(i)) + 20)
	t := gateway.TunnelStatus{
		Name: name, Role: "single", Active: true, State: tunnel.Up, Since: begin.Add(-time.Duration(i*i) * time.Minute).UTC(), Device: fmt.Sprintf("vpngw%d", i),
		Local: "203.0.113.9", Remote: fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250), Children: []gateway.ChildStatus{}, Leak: gateway.LeakNone,
	}
	switch i % 11 {
	case 3:
		t.State = tunnel.Connecting
		t.Report = diag.Report{Why: "no answer from " + t.Remote + ":500 to 5 messages in 24 seconds; does the peer run, and does a firewall let UDP 500 and 4500 through?", Code: "no-answer"}
		t.Advice = diag.Advice{Side: diag.Either, Change: []string{"RemoteGateway"}}
		return t
	case 7:
		t.State = tunnel.Degraded
		t.Report = diag.Report{Why: "the health check of 10.2.0.1 has had no answer for 15s", Code: "health-lost"}
	case 9:
		t.State = tunnel.Down
		t.Report = diag.Report{Why: "held down by `vpngw down`", Code: "held"}
		return t
	}
	t.IKE = &gateway.IKEStatus{Version: 2 - i%2, State: "established", Proposal: "aes256-sha256-modp2048", NAT: "none", SPIi: "0123456789abcdef", SPIr: "fedcba9876543210"}
	if i%2 == 1 {
		t.IKE.Mode, t.IKE.Proposal = "main", "3des-md5-modp1024"
	}
	t.Traffic = gateway.TrafficStatus{BytesIn: uint64(load), BytesOut: uint64(load / 7), PacketsIn: uint64(load / 1200), PacketsOut: uint64(load / 900)}
	t.Children = append(t.Children, gateway.ChildStatus{
		SPIIn: "c0000001", SPIOut: "c0000002", Proposal: "aes128gcm16", LocalTS: []string{"192.168.3.0/24"}, RemoteTS: []string{fmt.Sprintf("10.%d.0.0/16", i%250)},
		BytesIn: t.Traffic.BytesIn, BytesOut: t.Traffic.BytesOut, PacketsIn: t.Traffic.PacketsIn, PacketsOut: t.Traffic.PacketsOut, Drops: map[string]uint64{},
	})
	if i%6 == 0 && i > 0 {
		t.Session = &gateway.SessionStatus{State: "established", Since: t.Since, Local: "169.254.1.2", Remote: "169.254.1.1", LocalAS: 65001, RemoteAS: 64600, In: 1, Out: 2, Hold: 30, Flaps: 1}
	}
	return t
}
