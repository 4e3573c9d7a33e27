package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"vpngw/control/metrics"
)

// Bounds on what a client of a Public can ask of the daemon.
const (
	maxPublic     = 32                    // connections
	publicRequest = 5 * time.Second       // for reading a request
	publicAnswer  = 10 * time.Second      // for taking an answer
	publicIdle    = 2 * time.Minute       // more than the time between two scrapes
	publicPace    = 20 * time.Millisecond // between two answers, whoever asks
	publicRetry   = 5 * time.Second       // until an address that cannot be listened on is tried again
)

// Public serves pages that only show something, on a TCP address, to whoever can reach it: GET /metrics, and what Handle
// adds. It knows neither verbs nor secrets. What all clients together may cost is bounded: how many there are, and how often
// one of them is answered.
type Public struct {
	log   *slog.Logger
	mux   *http.ServeMux
	turns turns
	retry time.Duration

	mu   sync.Mutex
	at   netip.AddrPort // where it serves, or tries to
	stop func()         // ends that; nil: it serves nowhere
}

// Exposer tells all metrics. It is a part of Daemon.
type Exposer interface {
	Exposition(context.Context) (metrics.Text, error)
}

// NewPublic makes a Public that serves nowhere yet.
func NewPublic(e Exposer, log *slog.Logger) *Public {
	p := &Public{log: log, mux: http.NewServeMux(), retry: publicRetry}
	p.Handle("GET /metrics", exposition(e))
	return p
}

// Handle adds a page, under a pattern as http.ServeMux has it that begins with "GET ". Call it before Listen.
func (p *Public) Handle(pattern string, h http.Handler) {
	if !strings.HasPrefix(pattern, "GET /") {
		panic("control: a public page only shows something: " + pattern)
	}
	p.mux.Handle(pattern, h)
}

// Listen serves at an address from now on, and nowhere else; the zero value: nowhere. It does not wait: while the
// address cannot be listened on, the log says why, and Public goes on trying.
func (p *Public) Listen(at netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at == p.at {
		return
	}
	if p.at = at; p.stop != nil {
		p.stop()
		p.stop = nil
	}
	if !at.IsValid() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serve(ctx, at)
	}()
	p.stop = func() {
		cancel()
		<-done
	}
}

// Close ends serving, and breaks off requests in progress.
func (p *Public) Close() { p.Listen(netip.AddrPort{}) }

func (p *Public) serve(ctx context.Context, at netip.AddrPort) {
	said := ""
	for {
		l, err := net.Listen("tcp", at.String())
		if err == nil {
			p.log.Info("metrics are served", "address", l.Addr())
			err = p.on(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			p.log.Error("metrics are not served: `metrics: listen` wants an address of this host and a free port; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.retry):
		}
	}
}

func (p *Public) on(ctx context.Context, l net.Listener) error {
	s := http.Server{
		Handler: http.HandlerFunc(p.handle), ConnContext: withConn,
		ReadHeaderTimeout: publicRequest, ReadTimeout: publicRequest, WriteTimeout: publicAnswer, IdleTimeout: publicIdle,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(newLobby(l)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (p *Public) handle(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, says string) {
		w.Header().Set("Connection", "close")
		http.Error(w, says, status)
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(http.StatusMethodNotAllowed, "only GET and HEAD are served here")
		return
	case r.ContentLength != 0:
		refuse(http.StatusRequestEntityTooLarge, "a request has no body here")
		return
	case !hostMatches(r):
		refuse(http.StatusForbidden, "on the loopback address the host must be an IP address or localhost")
		return
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	v := visitorOf(r.Context())
	v.work(func() {
		if p.turns.wait(r.Context()) == nil {
			p.mux.ServeHTTP(answering{w, v}, r)
		}
	})
}

// hostMatches tells a browser off that was led here under a foreign name (DNS rebinding). On an address that others
// can reach, they need no browser of somebody else's to read what is here.
func hostMatches(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if ok && !local.IP.IsLoopback() {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// exposition serves a Daemon's metrics.
func exposition(e Exposer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := e.Exposition(r.Context())
		if err != nil {
			http.Error(w, fmt.Sprintf("cannot tell the metrics: %v", err), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", metrics.ContentType)
		w.Header().Set("Vary", "Accept-Encoding")
		body := text.Plain
		if takesGzip(r.Header) {
			w.Header().Set("Content-Encoding", "gzip")
			body = text.Gzip
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body) // fails only if the client has closed the connection
	})
}

func takesGzip(h http.Header) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				return !slices.Contains([]string{"q=0", "q=0.0", "q=0.00", "q=0.000"}, strings.TrimSpace(weight))
			}
		}
	}
	return false
}

// turns gives every answer a turn of its own, publicPace after the one before.
type turns struct {
	mu   sync.Mutex
	next time.Time
}

func (t *turns) wait(ctx context.Context) error {
	t.mu.Lock()
	now := time.Now()
	at := t.next
	if at.Before(now) {
		at = now
	}
	t.next = at.Add(publicPace)
	t.mu.Unlock()
	if at == now {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(at.Sub(now)):
		return nil
	}
}
