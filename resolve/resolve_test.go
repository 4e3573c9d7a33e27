package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// server is a DNS server on loopback. answer says what a question's answers are; false: there is no answer at all.
func server(t *testing.T, answer func(q dnsmessage.Question) ([]dnsmessage.Resource, dnsmessage.RCode, bool)) func(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			as, code, ok := answer(m.Questions[0])
			if !ok {
				continue
			}
			m.Response, m.RCode, m.Answers, m.Additionals = true, code, as, nil
			out, err := m.Pack()
			if err != nil {
				t.Error(err)
			}
			c.WriteToUDPAddrPort(out, from)
		}
	}()
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", c.LocalAddr().String())
	}
}

func record(q dnsmessage.Question, ttl uint32, a string) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: ttl}
	x := netip.MustParseAddr(a)
	if x.Is4() {
		return dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: x.As4()}}
	}
	return dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: x.As16()}}
}

func TestANameHasTheAddressesOfBothFamiliesAndTheLeastTTL(t *testing.T) {
	dial := server(t, func(q dnsmessage.Question) ([]dnsmessage.Resource, dnsmessage.RCode, bool) {
		if q.Name.String() != "gw.example.net." {
			return nil, dnsmessage.RCodeNameError, true
		}
		if q.Type == dnsmessage.TypeAAAA {
			return []dnsmessage.Resource{record(q, 70, "2001:db8::7")}, 0, true
		}
		return []dnsmessage.Resource{record(q, 300, "198.51.100.7"), record(q, 300, "198.51.100.7"), record(q, 300, "127.0.0.1"), record(q, 300, "224.0.0.1"), record(q, 300, "0.0.0.0")}, 0, true
	})
	got, holds, err := look(t.Context(), dial, "gw.example.net")
	slices.SortFunc(got, netip.Addr.Compare)
	if want := []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")}; err != nil || !slices.Equal(got, want) || holds != 70*time.Second {
		t.Errorf("got %v for %v (%v), want %v for 70s", got, holds, err, want)
	}
	if _, _, err := look(t.Context(), dial, "no.example.net"); err == nil || err.Error() != "DNS knows no such name" {
		t.Errorf("of an unknown name it says %v", err)
	}
}

func TestAServerThatIsSilentIsAnError(t *testing.T) {
	dial := server(t, func(dnsmessage.Question) ([]dnsmessage.Resource, dnsmessage.RCode, bool) { return nil, 0, false })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if got, _, err := look(ctx, dial, "gw.example.net"); err == nil || len(got) > 0 || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("got %v, %v", got, err)
	}
}

// Whatever a message holds, reading its TTLs ends.
func FuzzTTL(f *testing.F) {
	f.Add([]byte{0, 1, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var x ttl
		x.note(b)
		if d := x.least(); d < 0 || d > 1<<32*time.Second {
			t.Errorf("it holds for %v", d)
		}
	})
}

func TestANameIsLookedUpAgainInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // of what follows
		begin := time.Now()
		var asked []time.Duration
		holds, fails := 100*time.Second, false
		r := New(func(context.Context, string) ([]netip.Addr, time.Duration, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Since(begin).Round(time.Second))
			if fails {
				return nil, 0, errors.New("none")
			}
			return []netip.Addr{netip.MustParseAddr("198.51.100.7")}, holds, nil
		}, func(Answer) {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		want := func(when string, want ...time.Duration) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(asked, want) {
				t.Errorf("%s: asked at %v, want %v", when, asked, want)
			}
			asked, begin = nil, time.Now()
		}
		set := func(d time.Duration, f bool) {
			mu.Lock()
			defer mu.Unlock()
			holds, fails = d, f
		}
		r.Want([]string{"a"})
		pass(150 * time.Second)
		want("its TTL is 100 s", 0, 100*time.Second)
		set(0, false)
		pass(200 * time.Second)
		want("no TTL is known", 50*time.Second, 110*time.Second, 170*time.Second)
		set(time.Second, false) // is taken for 5 s
		pass(37 * time.Second)
		want("a short TTL", 30*time.Second, 35*time.Second)
		set(0, true)
		pass(70 * time.Second)
		want("after failures", 3*time.Second, 4*time.Second, 6*time.Second, 10*time.Second, 18*time.Second, 34*time.Second, 64*time.Second)
		r.Hurry()
		pass(time.Second)
		want("the links have changed", 0)
		r.Want(nil)
		pass(time.Hour)
		want("nobody wants it")
		cancel()
		<-done
	})
}

// Many names that do not answer hold back no others for long, and never more than some are asked at once.
func TestSlowNamesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		open, most := 0, 0
		count := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			open += n
			most = max(most, open)
		}
		good := time.Duration(-1)
		begin := time.Now()
		r := New(func(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
			if name == "good" {
				return []netip.Addr{netip.MustParseAddr("198.51.100.7")}, 0, nil
			}
			count(1)
			<-ctx.Done()
			count(-1)
			return nil, 0, ctx.Err()
		}, func(a Answer) {
			mu.Lock()
			defer mu.Unlock()
			if a.Name == "good" && good < 0 {
				good = time.Since(begin)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		var names []string
		for i := range 30 {
			names = append(names, string(rune('a'+i)))
		}
		r.Want(append(names, "good"))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if most > atOnce || good < 0 || good > 4*limit {
			t.Errorf("%d at once, the good one after %v", most, good)
		}
		mu.Unlock()
		cancel()
		<-done
		synctest.Wait()
	})
}
