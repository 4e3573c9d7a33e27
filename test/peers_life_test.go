package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

const lifeHead = `| peer | IKE | up again after the peer deleted the Child SA | the IKE SA | killed peer missed after | up after its start | killed vpngw forgotten after | our export |
|---|---|---|---|---|---|---|---|`

// life has the peer delete SAs and be killed, then vpngw be killed, then loads the export of vpngw at the peer.
func (r *reached) life(t *testing.T, version int) string {
	r.n.Use(t)
	c := cell{version: version, initiate: true, suite: "cbc-sha256"}
	ours, theirs := c.sites()
	r.d.start(c, theirs, ours)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("---- the peer's log ----\n%s", r.d.log())
		}
	})
	conn := c.connection()
	conn.DPD = map[string]any{"interval": "3s", "timeout": "15s"}
	gw := r.n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{conn}})
	t.Cleanup(gw.Kill)
	last := gw.AwaitUp("row")
	r.carries(ours, theirs)

	var cells []string
	since := func(start time.Time) { cells = append(cells, time.Since(start).Round(100*time.Millisecond).String()) }
	again := func() {
		r.n.Helper()
		r.n.Await(2*lab.Patience, "the tunnel is up again", func() (bool, string) {
			now := gw.Tunnel("row")
			if now.State == "up" && len(now.Children) == 1 && now.Children[0].SPIIn != last.Children[0].SPIIn {
				last = now
				return true, ""
			}
			return false, now.State + ": " + now.Why
		})
	}
	for _, ike := range []bool{false, true} {
		start := time.Now()
		if err := r.d.remove(ike); err != nil {
			t.Fatalf("the peer deletes: %v", err)
		}
		again()
		since(start)
		r.carries(ours, theirs)
	}
	start := time.Now()
	r.d.kill()
	r.n.Await(2*lab.Patience, "the peer is missed", func() (bool, string) {
		now := gw.Tunnel("row")
		return now.State != "up", now.State
	})
	since(start)
	r.d.start(c, theirs, ours)
	start = time.Now()
	again()
	since(start)
	r.carries(ours, theirs)

	gw.Kill()
	start = time.Now()
	r.n.Await(4*lab.Patience, "the peer forgets the dead vpngw", func() (bool, string) {
		ikes, children, _, saw := r.d.count()
		return ikes == 0 && children == 0, saw
	})
	since(start)

	r.exports(t, version)
	cells = append(cells, "loads, carries")
	return fmt.Sprintf("| %s | %d | %s |", r.name, version, strings.Join(cells, " | "))
}

// exports loads what vpngw writes for the peer, as it is.
func (r *reached) exports(t *testing.T, version int) {
	t.Helper()
	format := "swanctl"
	if strings.HasPrefix(r.name, "libreswan") {
		format = "libreswan"
	}
	for _, s := range peerSuites {
		c := cell{version: version, initiate: true, suite: s.name}
		ours, theirs := c.sites()
		gw := r.n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c.connection()}})
		text, err := gw.Try("export", "row", "-c", gw.Config, "--format", format, "--side", "cloud", "--reveal")
		text, _, lossy := strings.Cut(text, "vpngw: "+format+" cannot say") // standard error, behind it
		if err != nil && !lossy {
			t.Fatalf("export: %v\n%s", err, text)
		}
		r.d.startText(text)
		gw.AwaitUp("row")
		r.carries(ours, theirs)
		gw.Stop()
	}
}

// carries sends packets both ways until some have come.
func (r *reached) carries(a, b site) {
	r.n.Helper()
	startPeerFlow(r.n, r.n.Host.Talk, a.host, r.talk, b.host).close()
}
