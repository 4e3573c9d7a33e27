package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"vpngw/diag"
)

const (
	// maxJobs is how many calls may wait for a child that is slow. The keeper kills one that does not answer.
	maxJobs = 1024
	// stopTime is how long a child has to tell its peers that it ends.
	stopTime = 1500 * time.Millisecond
	// failTime is how long the end of the process may take to be known after the end of its connection.
	failTime = 200 * time.Millisecond
	// maxLines is how many lines a child may log from one sign of life to the next.
	maxLines = 20_000
)

// attached is a child process, from its start to its end, and the goroutines that serve it. Its calls go out one after
// the other, in the order of the actions.
type attached struct {
	speaker *Speaker
	process Process // nil: it could not be started
	socket  string
	jobs    chan func(context.Context, *client) error
	asks    chan struct{}
	ctx     context.Context // ends with the child
	cancel  context.CancelCauseFunc
	gone    chan struct{} // closed when the process has ended and died is noted

	mu       sync.Mutex
	tunnels  map[netip.Addr]string // by neighbour
	up       map[string]bool       // the tunnels whose sessions are established
	reasons  reasons
	killed   *diag.Cause // why we have killed it
	lastWord string      // the last line of its log that is no record: a panic
	fatal    string      // the record that it ended with
	written  int         // lines of its log since it last answered
}

// begin starts a child for a Config. Its facts come through s.facts: started or died first, died last.
func (s *Speaker) begin(ctx context.Context, c Config) *attached {
	r := &attached{
		speaker: s, socket: socket(s.Dir, c.Group),
		jobs: make(chan func(context.Context, *client) error, maxJobs), asks: make(chan struct{}, 1), gone: make(chan struct{}),
		up: make(map[string]bool),
	}
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.learn(c.Sessions)
	go r.run(Child{ASN: c.ASN, RouterID: c.RouterID, Listen: listens(c), Socket: r.socket}, c)
	return r
}

func (r *attached) run(spec Child, c Config) {
	defer close(r.gone)
	process, err := r.speaker.Starter.Start(Spec{
		Args: spec.args(), Dir: r.speaker.Dir, Stderr: &lines{each: r.line}, Memory: heapLimit,
	})
	if err != nil {
		r.cancel(err)
		r.send(died{diag.Cause{Code: diag.BGPChildDied, Name: c.Group, Err: err.Error()}})
		return
	}
	r.mu.Lock()
	r.process = process
	killed := r.killed != nil || r.ctx.Err() != nil
	r.mu.Unlock()
	if killed {
		process.Kill()
	}
	var serving sync.WaitGroup
	serving.Go(func() { r.serve(spec) })
	err = process.Wait()
	r.cancel(errEnded)
	serving.Wait()
	process.Remove(r.socket)
	r.send(died{r.why(c, err)})
}

var errEnded = errors.New("the BGP process has ended")

// serve connects to the child and carries out the jobs until it ends.
func (r *attached) serve(spec Child) {
	cl, err := dial(r.ctx, spec.ASN, func(ctx context.Context) (net.Conn, error) { return r.process.Dial(ctx, r.socket) })
	if err != nil {
		r.fail(err)
		return
	}
	defer cl.close()
	if err := cl.setPolicies(r.ctx); err != nil {
		r.fail(err)
		return
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	ready := make(chan struct{})
	watching.Go(func() {
		r.fail(cl.watch(r.ctx, r.tunnel, ready, func(w watched) { r.heard(cl, w) }))
	})
	watching.Go(func() { r.answer(cl) })
	select {
	case <-ready:
	case <-r.ctx.Done():
		return
	}
	r.send(started{})
	for {
		select {
		case <-r.ctx.Done():
			return
		case job := <-r.jobs:
			if err := job(r.ctx, cl); err != nil {
				r.fail(err)
				return
			}
		}
	}
}

// answer asks for signs of life, whatever job is under way.
func (r *attached) answer(cl *client) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.asks:
		}
		if err := cl.ask(r.ctx); err != nil {
			continue // the keeper waits for answered, and kills
		}
		r.mu.Lock()
		process := r.process
		r.written = 0
		r.mu.Unlock()
		if n := process.RSS(); n > maxRSS {
			r.fail(fmt.Errorf("the BGP process holds %d MB of memory", n>>20))
			return
		}
		r.send(answered{})
	}
}

// heard hands on what the watch tells.
func (r *attached) heard(cl *client, w watched) {
	if p := w.peer; p != nil {
		r.mu.Lock()
		if p.state == Established {
			r.up[p.tunnel] = true
		} else {
			delete(r.up, p.tunnel)
		}
		r.mu.Unlock()
		if p.state == Established {
			// A session that has ended meanwhile says so next.
			p.hold, p.restart, _ = cl.agreed(r.ctx, w.neighbour)
		}
		r.send(*p)
	}
	for _, t := range w.routes {
		r.send(t)
	}
	for _, e := range w.ends {
		r.send(e)
	}
}

// send hands a fact to the Speaker, which takes it unless it has ended.
func (r *attached) send(f fact) {
	select {
	case r.speaker.facts <- tagged{r, f}:
	case <-r.speaker.done:
	}
}

// line reads a line of the child's log.
func (r *attached) line(line []byte) {
	r.mu.Lock()
	r.written++
	flood := r.written > maxLines
	r.mu.Unlock()
	if flood {
		r.fail(errors.New("the BGP process floods its log"))
		return
	}
	rec, ok := parse(line)
	if !ok {
		r.mu.Lock()
		if text := printable(string(line)); strings.HasPrefix(text, "panic:") || strings.HasPrefix(text, "fatal error:") || r.lastWord == "" {
			r.lastWord = text
		}
		r.mu.Unlock()
		return
	}
	r.mu.Lock()
	if rec.Level == "fatal" || rec.Level == "panic" || deadly[rec.Message] {
		r.fatal = printable(rec.Message + ": " + rec.Error)
	}
	neighbour, cause, ok := r.reasons.note(rec)
	tunnel, known := r.tunnels[neighbour]
	r.mu.Unlock()
	r.speaker.Log.Debug("bgp: "+printable(rec.Message), "tunnel", tunnel, "peer", printable(rec.Key), "old", printable(rec.Old),
		"new", printable(rec.New), "reason", printable(rec.Ended), "err", printable(rec.Error))
	if rec.Message == unconfined {
		r.speaker.Log.Warn("the BGP process could do more than it should: this system cannot take it away", "err", printable(rec.Error))
	}
	if ok && known {
		r.send(said{tunnel, cause})
	}
}

// learn sets which neighbour is which tunnel's.
func (r *attached) learn(sessions []Session) {
	m := make(map[netip.Addr]string, len(sessions))
	for _, n := range sessions {
		m[n.Remote] = n.Tunnel
	}
	r.mu.Lock()
	r.tunnels = m
	r.mu.Unlock()
}

func (r *attached) tunnel(neighbour netip.Addr) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[neighbour]
	return t, ok
}

func (r *attached) established() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for t := range r.up {
		names = append(names, t)
	}
	return names
}

// do has a call made when those before it are. It never waits.
func (r *attached) do(job func(context.Context, *client) error) {
	select {
	case r.jobs <- job:
	default:
		r.kill(diag.Cause{Code: diag.BGPChildDied, Err: "the BGP process is too slow: too many calls wait for it"})
	}
}

// ask has the child asked for a sign of life. It never waits.
func (r *attached) ask() {
	select {
	case r.asks <- struct{}{}:
	default:
	}
}

// fail ends the child because of an error. It waits a little: the error may be that the child has ended.
func (r *attached) fail(err error) {
	select {
	case <-r.ctx.Done():
		return
	case <-time.After(failTime):
	}
	r.kill(diag.Cause{Code: diag.BGPChildDied, Err: printable(err.Error())})
}

// kill ends the child at once. died follows.
func (r *attached) kill(cause diag.Cause) {
	r.mu.Lock()
	if r.killed == nil {
		r.killed = &cause
	}
	process := r.process
	r.mu.Unlock()
	if process != nil {
		process.Kill()
	}
}

// why is why the child has ended.
func (r *attached) why(c Config, err error) diag.Cause {
	r.mu.Lock()
	defer r.mu.Unlock()
	cause := diag.Cause{Code: diag.BGPChildDied, Name: c.Group}
	switch {
	case r.killed != nil:
		cause = *r.killed
		cause.Name = c.Group
	case strings.Contains(r.lastWord+r.fatal, "address already in use"):
		cause.Code, cause.Err = diag.BGPPortTaken, r.lastWord
	case r.fatal != "":
		cause.Err = r.fatal
	case r.lastWord != "":
		cause.Err = r.lastWord
	case err != nil:
		cause.Err = err.Error()
	}
	return cause
}

// stop ends the child after it has told its peers, or without; it returns when the process has ended.
func (r *attached) stop() {
	r.mu.Lock()
	process := r.process
	r.mu.Unlock()
	if process != nil {
		process.Stop()
		select {
		case <-r.gone:
			return
		case <-time.After(stopTime):
		}
	}
	r.kill(diag.Cause{Code: diag.ShuttingDown})
	<-r.gone
}
