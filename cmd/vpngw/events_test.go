package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vpngw/control"
	"vpngw/gateway"
)

// telling is a daemon whose events a test makes.
type telling struct {
	canned
	mu    sync.Mutex
	count uint64
	more  chan struct{}
}

func (d *telling) tell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	close(d.more)
	d.more = make(chan struct{})
}

func (d *telling) Events(ctx context.Context, _ string, after uint64, wait time.Duration) (list []gateway.Event, err error) {
	for {
		d.mu.Lock()
		for n := after + 1; n <= d.count; n++ {
			list = append(list, gateway.Event{Number: n})
		}
		more := d.more
		d.mu.Unlock()
		if len(list) > 0 || wait == 0 {
			return list, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// A follower misses and repeats nothing while the daemon ends and another begins, and says once that it waits.
func TestEventsAreFollowedOverARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	d := &telling{more: make(chan struct{})}
	serve := func() *control.Server {
		l, err := control.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		return control.Serve(l, d, "test", slog.New(slog.DiscardHandler))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, end := make(chan uint64), make(chan error)
	var said strings.Builder
	s := serve()
	go func() {
		end <- followEvents(ctx, control.NewClient(path), &said, "", 0, func(e gateway.Event) error {
			got <- e.Number
			return nil
		})
	}()
	want := uint64(0)
	for range 3 {
		for range 3 {
			want++
			d.tell()
			if n := <-got; n != want {
				t.Fatalf("event %d, want %d", n, want)
			}
		}
		s.Close()
		want++
		d.tell() // while nobody answers
		time.Sleep(2 * followPause)
		s = serve()
		if n := <-got; n != want {
			t.Fatalf("event %d, want %d", n, want)
		}
	}
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) && !strings.Contains(fmt.Sprint(err), "canceled") {
		t.Error(err)
	}
	s.Close()
	if n := strings.Count(said.String(), "waiting for the next one"); n != 3 {
		t.Errorf("it said\n%s", said.String())
	}
}
