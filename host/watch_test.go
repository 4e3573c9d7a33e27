package host

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWatchTellsOfTheUnderlayAndOfMeddling(t *testing.T) {
	s, h := world(t, "vpn0")
	var calls atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error)
	go func() {
		close(ready)
		ended <- h.Watch(ctx, func([]string) { calls.Add(1) })
	}()
	<-ready
	quiet := func() { // the kernel still configures a new link
		for n := int32(-1); n != calls.Load(); time.Sleep(5 * coalesce) {
			n = calls.Load()
		}
		calls.Store(0)
	}
	quiet()
	for _, state := range []State{crashState, {}, crashState} {
		_, err := h.Set("a", state)
		s.must(err)
		time.Sleep(3 * coalesce)
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls for what Set did", n)
	}
	for _, c := range []struct {
		what string
		do   func()
		most int32
	}{
		{"a foreign route", func() { s.ip("route", "add", "10.99.0.0/16", "dev", "eth0") }, 1},
		{"an address", func() { s.ip("addr", "add", "192.0.2.88/24", "dev", "eth0") }, 1},
		{"many routes", func() {
			for i := range 50 {
				s.foreignRoute(netip.MustParsePrefix(fmt.Sprintf("10.98.%d.0/24", i)), false, 0)
			}
		}, 10},
		{"a rule of ours removed", func() { s.ip("rule", "del", "priority", "7558") }, 1},
		{"the underlay's MTU", func() { s.ip("link", "set", "eth0", "mtu", "1400") }, 2},
		{"a route of ours removed", func() { s.ip("route", "del", "10.20.0.0/16") }, 1},
		{"an address of ours removed", func() { s.ip("addr", "del", "169.254.7.1/30", "dev", "vpn0") }, 1},
		{"a device of ours down", func() { s.ip("link", "set", "vpn0", "down") }, 2},
		{"a device of ours with another MTU", func() { s.ip("link", "set", "vpn0", "mtu", "9000") }, 2},
		{"the underlay down", func() { s.ip("link", "set", "eth0", "down") }, 2},
	} {
		quiet()
		start := time.Now()
		c.do()
		eventually(t, "call for "+c.what, func() bool { return calls.Load() > 0 })
		time.Sleep(2 * coalesce)
		// On a busy machine a delayed watcher may make two calls instead of one.
		if n, late := calls.Load(), int32(time.Since(start)/coalesce); n > c.most+late {
			t.Errorf("%s: %d calls", c.what, n)
		}
		_, err := h.Set("a", crashState)
		s.must(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// When another program removes or alters an object of one owner, Watch names that owner
// alone, and the owner's Set restores the object.
func TestWatchTellsTheOwnerWhoseObjectIsGone(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	other := State{Devices: []DeviceState{{
		Name: "vpn1", MTU: 1400, Addresses: prefixes("169.254.8.1/30"),
		Routes: []Route{{Prefix: netip.MustParsePrefix("10.21.0.0/16")}, {Prefix: netip.MustParsePrefix("10.20.0.0/24")}},
	}}}
	for owner, st := range map[string]State{"a": crashState, "b": other} {
		_, err := h.Set(owner, st)
		s.must(err)
	}
	want, _ := s.kernelState()
	told := make(chan []string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- h.Watch(ctx, func(owners []string) {
			for _, o := range owners {
				if _, err := h.Set(o, map[string]State{"a": crashState, "b": other}[o]); err != nil {
					t.Error(err)
				}
			}
			told <- owners
		})
	}()
	time.Sleep(5 * coalesce) // what the kernel does by itself with a young link
	for len(told) > 0 {
		<-told
	}
	for _, c := range []struct {
		by   []string
		owns string
	}{
		{[]string{"route", "del", "10.20.0.0/16"}, "a"},
		{[]string{"route", "del", "10.21.0.0/16"}, "b"},
		{[]string{"rule", "del", "priority", "7558"}, "a"},
		{[]string{"-6", "rule", "del", "priority", "7556"}, "a"},
		{[]string{"addr", "del", "169.254.8.1/30", "dev", "vpn1"}, "b"},
		{[]string{"link", "set", "vpn0", "down"}, "a"},
		{[]string{"link", "set", "vpn1", "mtu", "1280"}, "b"},
		{[]string{"route", "add", "10.20.0.0/24", "dev", "eth0"}, "b"},
		{[]string{"route", "del", "10.20.0.0/24", "dev", "eth0", "proto", "boot"}, "b"},
		{[]string{"route", "add", "10.99.0.0/24", "dev", "eth0"}, ""},
	} {
		begin := time.Now()
		s.ip(c.by...)
		owners := <-told
		if got := strings.Join(owners, " "); got != c.owns {
			t.Errorf("ip %s: told %q, want %q", strings.Join(c.by, " "), got, c.owns)
		}
		if d := time.Since(begin); d > time.Second && os.Getenv("SOAK") != "" {
			t.Errorf("ip %s: back after %v", strings.Join(c.by, " "), d)
		}
		if strings.Contains(strings.Join(c.by, " "), "add 10.20") {
			continue // b's route is blocked
		}
		got, _ := s.kernelState()
		compare(t, strings.Join(c.by, " "), got, want)
		time.Sleep(2 * coalesce) // no call for the Set
		for len(told) > 0 {
			if owners := <-told; len(owners) > 0 {
				t.Errorf("ip %s: told %q again", strings.Join(c.by, " "), owners)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A dump replaces lost events.
func TestSetIsRightAfterAnOverrun(t *testing.T) {
	s, h := world(t, "vpn0")
	_, err := h.Set("a", crashState)
	s.must(err)
	h.events.(*events).rc.Control(func(fd uintptr) {
		s.must(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1))
	})
	for i := range 100 {
		s.foreignRoute(netip.MustParsePrefix(fmt.Sprintf("10.98.%d.0/24", i)), false, 0)
	}
	s.ip("route", "flush", "proto", "73")
	s.foreignRoute(netip.MustParsePrefix("198.51.100.0/24"), false, 0)
	res, err := h.Set("a", crashState)
	s.must(err)
	if len(res.Blocked) != 1 || res.Blocked[0].Cause.Err != "the route 198.51.100.0/24 on eth0" {
		t.Errorf("blocked: %+v", res.Blocked)
	}
	if got := s.via("10.20.1.1", 0); got != "vpn0" {
		t.Errorf("10.20.0.0/16 through %s", got)
	}
}

// A Set without a change sends the kernel no request.
func TestSetIsIdempotent(t *testing.T) {
	s, h := world(t, "vpn0")
	_, err := h.Set("a", crashState)
	s.must(err)
	ev, err := subscribe()
	s.must(err)
	defer ev.Close()
	_, err = h.Set("a", crashState)
	s.must(err)
	if msgs, err := ev.take(); err != errNone {
		t.Errorf("%d events, %v", len(msgs), err)
	}
}
