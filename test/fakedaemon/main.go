// Command fakedaemon answers on a control socket as a daemon with many tunnels would, without any: to look at the
// commands that show them.
//
//	go run ./test/fakedaemon -n 500 -socket /tmp/fake.sock &
//	vpngw status --watch --control /tmp/fake.sock
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"vpngw/cmd/vpngw/show/showtest"
	"vpngw/control"
	"vpngw/desired"
	"vpngw/diag"
	"vpngw/gateway"
	"vpngw/tunnel"
)

func main() {
	n := flag.Int("n", 20, "how many connections; every fifth has two tunnels")
	socket := flag.String("socket", "/tmp/fake.sock", "the control socket")
	flag.Parse()
	l, err := control.Listen(*socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := control.Serve(l, daemon{n: *n, begin: time.Now()}, "fake", slog.Default())
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt)
	<-end
	s.Close()
}

// daemon has n connections. What it does not answer is left to the nil Daemon in it.
type daemon struct {
	control.Daemon
	n     int
	begin time.Time
}

func (d daemon) Status(context.Context) (desired.Status, error) {
	return showtest.Fleet(d.n, d.begin, time.Now()), nil
}

func (d daemon) Counters(context.Context) (gateway.Counters, error) {
	return gateway.Counters{IKE: map[string]uint64{"malformed": 3}, ESP: map[string]uint64{"no-sa": 12}, Host: map[string]uint64{}, Tunnels: map[string]map[string]uint64{"hq": {"no-sa": 12}}}, nil
}

func (d daemon) Events(_ context.Context, name string, after uint64, _ time.Duration) ([]gateway.Event, error) {
	if after > 0 {
		return []gateway.Event{}, nil
	}
	return []gateway.Event{
		{Number: 1, Time: d.begin, Severity: diag.Info, Connection: name, Tunnel: name, State: tunnel.Connecting},
		{Number: 2, Time: d.begin.Add(time.Second), Severity: diag.Info, Connection: name, Tunnel: name, Was: tunnel.Connecting, State: tunnel.Up},
	}, nil
}
