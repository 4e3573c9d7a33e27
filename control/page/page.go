// Package page is the status page: what `vpngw status` and `vpngw events` show, and the traffic of the last hour, for a
// browser. It is read-only, one HTML document without scripts and without anything from elsewhere.
package page

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vpngw/desired"
	"vpngw/gateway"
)

// Source is the daemon whose status is shown.
type Source interface {
	Status(context.Context) (desired.Status, error)
	Events(ctx context.Context, name string, after uint64, wait time.Duration) ([]gateway.Event, error)
}

// Page is the status page. It is safe for concurrent use.
type Page struct {
	source  Source
	host    string
	version string
	history history
	shown   atomic.Bool
	turn    chan struct{} // wakes Run

	mu      sync.Mutex // of the fields below; held while the daemon is asked, so that many readers ask once
	last    desired.Status
	events  []gateway.Event
	at      time.Time
	invalid error
}

// fresh is how long one answer of the daemon serves all readers.
const fresh = 2 * time.Second

// New makes a page of the daemon on a host.
func New(source Source, host, version string) *Page {
	return &Page{source: source, host: host, version: version, turn: make(chan struct{}, 1)}
}

// Show has the page shown from now on, or not.
func (p *Page) Show(shown bool) {
	if p.shown.Swap(shown) == shown {
		return
	}
	select {
	case p.turn <- struct{}{}:
	default:
	}
}

// Run notes the traffic once a minute until ctx ends, while the page is shown.
func (p *Page) Run(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if !p.shown.Load() {
			p.history.forget()
		} else if st, err := p.source.Status(ctx); err == nil {
			p.history.note(time.Now(), st)
		}
		select {
		case <-tick.C:
		case <-p.turn:
			tick.Reset(time.Minute)
		case <-ctx.Done():
			return
		}
	}
}

// look returns what the daemon says, at most as old as fresh.
func (p *Page) look(ctx context.Context, now time.Time) (desired.Status, []gateway.Event, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.at) < fresh {
		return p.last, p.events, p.invalid
	}
	// A reader that goes away must not spoil the answer for the others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	p.last, p.invalid = p.source.Status(ctx)
	if p.invalid == nil {
		p.events, p.invalid = p.source.Events(ctx, "", 0, 0)
	}
	p.at = now
	return p.last, p.events, p.invalid
}

func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.shown.Load() {
		http.NotFound(w, r)
		return
	}
	now := time.Now()
	h := w.Header()
	h.Set("Content-Security-Policy", policy())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	st, events, err := p.look(r.Context(), now)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if r.Method == http.MethodHead {
		return
	}
	document().Execute(w, p.view(now, st, events, err, chosen(r.URL.Query()))) // fails only if the reader has gone
}
