package host

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// Packets that find the queue of a device full count for that device, however many there are.
func TestDropsOfEachDeviceAreCounted(t *testing.T) {
	s, h := world(t)
	for _, name := range []string{"vpn0", "vpn1"} {
		_, err := h.CreateTUN(name, 1400)
		s.must(err)
	}
	s.ip("tuntap", "add", "mode", "tun", "name", "tun0")
	_, err := h.Set("a", State{Devices: []DeviceState{
		{Name: "vpn0", MTU: 1400, Addresses: []netip.Prefix{netip.MustParsePrefix("169.254.1.1/30")}, Routes: []Route{{Prefix: netip.MustParsePrefix("10.99.0.0/24")}}},
		{Name: "vpn1", MTU: 1400},
	}})
	s.must(err)
	queue := s.link("vpn0").Attrs().TxQLen
	so, err := openSocket(netip.MustParseAddrPort("169.254.1.1:5555"))
	s.must(err)
	defer so.Close()
	s.ip("rule", "flush") // our sockets look up the table main
	s.ip("rule", "add", "lookup", "main")
	for range queue + 70 {
		so.WriteBatch(datagram(9, netip.MustParseAddr("10.99.0.1"), "x"))
	}
	drops, err := h.TUNDrops()
	s.must(err)
	if n, ok := drops["vpn1"]; len(drops) != 2 || drops["vpn0"] != 70 || !ok || n != 0 {
		t.Errorf("got %v, want 70 of vpn0 (queue of %d) and none of vpn1", drops, queue)
	}
}

// The processor time of a thread is told to other threads, and 0 when it has ended.
func TestThreadTimeIsThatOfTheThread(t *testing.T) {
	h := &Host{}
	clock, work, ended := make(chan func() time.Duration), make(chan bool), make(chan bool)
	go func() {
		runtime.LockOSThread() // and no Unlock: the thread ends with the goroutine
		clock <- h.ThreadTime()
		for read := h.ThreadTime(); read() < 30*time.Millisecond; {
		}
		work <- true
		<-ended
	}()
	read := <-clock
	<-work
	if used := read(); used < 30*time.Millisecond || used > 10*time.Second {
		t.Errorf("the thread has used %v, want some more than 30ms", used)
	}
	ended <- true
	eventually(t, "the thread has ended", func() bool { return read() == 0 })
}
