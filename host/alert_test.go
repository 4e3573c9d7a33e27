package host

import (
	"context"
	"os"
	"testing"
	"time"
)

// What another program changes of nftables and of forwarding is told soon, and once; what we change is not.
func TestChangesOfFilterAndForwardingAreTold(t *testing.T) {
	s, h := world(t)
	table, err := openTable()
	s.must(err)
	h.cleartext.table.Close()
	h.cleartext.table = table
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	told := map[string]chan struct{}{}
	for name, watch := range map[string]func(context.Context, func()) error{"filter": h.WatchFilter, "settings": h.WatchSettings} {
		c := make(chan struct{}, 100)
		told[name] = c
		go func() { done <- watch(ctx, func() { c <- struct{}{} }) }()
	}
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()
	wait := func(what, of string) {
		t.Helper()
		select {
		case <-told[of]:
		case <-time.After(time.Minute):
			t.Fatalf("nothing tells of %s", what)
		}
	}
	set := func(knob, value string) {
		t.Helper()
		s.must(os.WriteFile("/proc/sys/net/"+knob, []byte(value), 0o644))
	}
	s.exec("nft", "table ip masq { chain out { type nat hook postrouting priority 100; masquerade\n}\n}")
	wait("a new table", "filter")
	s.exec("iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
	wait("a rule of iptables", "filter")
	s.exec("nft", "flush ruleset")
	wait("the end of all rules", "filter")
	set("ipv4/conf/eth0/forwarding", "1")
	wait("forwarding by a device", "settings")
	set("ipv4/ip_forward", "1")
	wait("forwarding", "settings")
	set("ipv6/conf/all/forwarding", "1")
	wait("forwarding of IPv6", "settings")

	// Our own table and a new device are no news, and a storm is one report in 400 ms at most.
	time.Sleep(2 * (alertSettle + alertPause))
	for _, c := range told {
		for len(c) > 0 {
			<-c
		}
	}
	s.must(table.replace(nil))
	s.must(table.remove())
	s.exec("ip", "tuntap", "add", "dev", "other0", "mode", "tun")
	time.Sleep(2 * (alertSettle + alertPause))
	if n := len(told["filter"]); n > 0 {
		t.Errorf("of our own table it tells %d times", n)
	}
	if n := len(told["settings"]); n > 0 {
		t.Errorf("of a new device it tells %d times", n)
	}
	began := time.Now()
	for time.Since(began) < time.Second {
		s.exec("nft", "add table ip storm; delete table ip storm")
	}
	time.Sleep(alertSettle)
	if n, most := len(told["filter"]), int(time.Since(began)/(alertSettle+alertPause))+2; n == 0 || n > most {
		t.Errorf("of a storm it tells %d times in %v, want %d at most", n, time.Since(began), most)
	}
}

// A kernel that tells nothing, or does not tell it to us, is no error: who asks from time to time finds it too.
func TestNoEventsAreNoError(t *testing.T) {
	h := &Host{}
	if err := h.WatchFilter(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := h.WatchSettings(t.Context(), nil); err != nil {
		t.Error(err)
	}
	h.alerts.Close()
}
