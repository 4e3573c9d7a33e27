package gateway

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/tunnel"
)

func TestEventsAreKeptAndNumbered(t *testing.T) {
	l := newEvents()
	if list, _ := l.after(0); len(list) != 0 {
		t.Fatalf("%d events at the start", len(list))
	}
	_, more := l.after(0)
	for i := range KeptEvents + 10 {
		l.add(Event{Tunnel: fmt.Sprint(i)})
	}
	select {
	case <-more:
	default:
		t.Error("who waits is not told")
	}
	for _, c := range []struct{ after, first, n uint64 }{
		{0, 11, KeptEvents},
		{5, 11, KeptEvents},
		{KeptEvents, KeptEvents + 1, 10},
		{KeptEvents + 10, 0, 0},
		{KeptEvents + 11, 11, KeptEvents}, // the number of a daemon whose events are lost
		{1 << 63, 11, KeptEvents},
	} {
		list, _ := l.after(c.after)
		if uint64(len(list)) != c.n || c.n > 0 && (list[0].Number != c.first || list[0].Tunnel != fmt.Sprint(c.first-1)) {
			t.Errorf("after %d: %d events, want %d from %d", c.after, len(list), c.n, c.first)
		}
	}
}

// However many have come, the last ones are there, in order, and whoever read them before keeps what he read.
func TestEventsAreTheLastOnes(t *testing.T) {
	l := newEvents()
	var before []Event
	for i := range 5 * KeptEvents {
		l.add(Event{Tunnel: fmt.Sprint(i)})
		if i%(KeptEvents/3) > 0 {
			continue
		}
		list, _ := l.after(0)
		if len(list) != min(i+1, KeptEvents) || len(l.last) > eventRoom {
			t.Fatalf("%d of %d events are kept, in the room of %d", len(list), i+1, len(l.last))
		}
		for _, list := range [][]Event{before, list} {
			for k, e := range list {
				if e.Number != list[0].Number+uint64(k) || e.Tunnel != fmt.Sprint(e.Number-1) {
					t.Fatalf("event %d from %d is %d, of %s", k, list[0].Number, e.Number, e.Tunnel)
				}
			}
		}
		if last := list[len(list)-1].Number; last != uint64(i+1) {
			t.Fatalf("the last event is %d, want %d", last, i+1)
		}
		before = list
	}
}

func TestAnEventSaysWhatChanged(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	of := &entry{conn: &config.Connection{Name: "hq", Dialect: "alibaba"}}
	e := eventOf(now, of, tunnel.Changed{Conn: "hq", Tunnel: "hq-1", Was: tunnel.Up, State: tunnel.Connecting, Cause: diag.Cause{Code: diag.PeerDead}})
	if e.Severity != diag.Lookup(diag.PeerDead).Severity || e.Code != diag.PeerDead || e.Why == "" || e.Side != diag.Path || e.Connection != "hq" || e.Tunnel != "hq-1" || e.Was != tunnel.Up || !e.Time.Equal(now) {
		t.Errorf("%+v", e)
	}
	if e := eventOf(now, of, tunnel.Changed{State: tunnel.Up}); e.Severity != diag.Info || e.Code != "" {
		t.Errorf("%+v", e)
	}
}

// TestEventsAreWaitedFor: until there is one, the time is over, the client has gone or the daemon ends.
func TestEventsAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, officeHost(), configOf(hq()), Options{})
		ctx := t.Context()
		list, err := r.Events(ctx, "", 0, 0)
		if err != nil || len(list) < 2 || list[0].Code != diag.DaemonStarted || list[1].Tunnel != "hq" || list[0].Number != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		last := list[len(list)-1].Number
		for name, n := range map[string]int{"hq": len(list) - 1, "": len(list)} {
			if list, err := r.Events(ctx, name, 0, 0); err != nil || len(list) != n {
				t.Errorf("%q: %d events, %v, want %d", name, len(list), err, n)
			}
		}
		if unknown := (*UnknownNameError)(nil); !errors.As(errOf(r.Events(ctx, "hg", 0, time.Minute)), &unknown) {
			t.Error("a name that nothing has is not refused")
		}
		begun := time.Now()
		if list, err := r.Events(ctx, "", last, 20*time.Second); err != nil || len(list) > 0 || time.Since(begun) != 20*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(begun), list, err)
		}
		type answer struct {
			list []Event
			err  error
		}
		ask := func(ctx context.Context) chan answer {
			got := make(chan answer, 1)
			go func() {
				list, err := r.Events(ctx, "", last, time.Minute)
				got <- answer{list, err}
			}()
			synctest.Wait()
			return got
		}
		gone, leave := context.WithCancel(ctx)
		got := ask(gone)
		leave()
		if a := <-got; !errors.Is(a.err, context.Canceled) {
			t.Errorf("the client has gone: %+v", a)
		}
		got = ask(ctx)
		if err := r.Down(ctx, "hq"); err != nil {
			t.Fatal(err)
		}
		a := <-got
		if a.err != nil || len(a.list) != 1 || a.list[0].Code != diag.OperatorDown || a.list[0].State != tunnel.Down || a.list[0].Number != last+1 {
			t.Errorf("taken down: %+v", a)
		}
		last++
		got = ask(ctx)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if a := <-got; !errors.Is(a.err, ErrStopped) && (len(a.list) != 1 || a.list[0].Code != diag.DaemonStopped) {
			t.Errorf("the daemon has ended: %+v", a)
		}
	})
}

func errOf(_ []Event, err error) error { return err }
