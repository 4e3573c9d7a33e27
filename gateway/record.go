package gateway

import (
	"encoding/json"
	"time"

	"vpngw/diag"
)

// Record keeps records over restarts: a *store.Ring.
type Record interface {
	Append(records ...[]byte) error // an error: none was added
	Sync() error
}

const (
	// skippedNumbers is how many numbers a start leaves out after a crash: somebody may have been told of events that the crash
	// kept from the disk, and must not miss those that would get the same numbers.
	skippedNumbers = 100_000
	syncEvery      = time.Second
	recordRetry    = 5 * time.Second // after a failure
	recordGrace    = 2 * time.Second // at the end
)

// resume goes on with the numbers of earlier runs.
func (l *events) resume(records [][]byte) {
	last, ok := lastOf(records)
	l.count = last.Number
	if ok && last.Code != diag.DaemonStopped {
		l.count += skippedNumbers
		l.crashed = true
	}
	l.earlier, l.written = last.Number, l.count
}

// recordEvents takes up the events of earlier runs and keeps those of this one, until the function that it returns is called
// with the reason of the end.
//
// A goroutine of its own writes what is not written yet, so a slow disk delays nobody. The events themselves are its
// queue: while the disk does not take them they stay in memory, the last KeptEvents of them.
func (g *Gateway) recordEvents() (stop func(err error)) {
	l := g.events
	go func(records [][]byte) {
		l.recall(records, l.earlier)
		close(l.recalled)
	}(g.Recorded)
	g.Recorded = nil

	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if g.Record != nil {
			g.writeEvents(l.written, end)
		}
	}()
	started, log := diag.Cause{Code: diag.DaemonStarted, Ours: g.Version}, g.Log.Info
	if l.crashed {
		started.Code, log = diag.DaemonRecovered, g.Log.Warn
	}
	g.Tell(started)
	log(started.String(), "code", started.Code)

	return func(err error) {
		stopped := diag.Cause{Code: diag.DaemonStopped}
		if err != nil {
			stopped.Err = err.Error()
		}
		g.Tell(stopped)
		g.Log.Info(stopped.String(), "code", stopped.Code)
		close(end)
		select {
		case <-done:
		case <-time.After(recordGrace):
			g.Log.Warn("the last events are not kept: the disk does not take them", "waited", recordGrace)
		}
	}
}

// writeEvents writes the events after a number until end is closed.
func (g *Gateway) writeEvents(written uint64, end <-chan struct{}) {
	r := recorder{to: g.Record, written: written}
	var failed error
	for ending := false; ; {
		list, more := g.events.after(r.written)
		again, err := r.keep(list, ending)
		switch {
		case err != nil && ending:
			g.Log.Warn("the last events are not kept", "count", len(list), "err", err)
		case err != nil && failed == nil:
			g.Log.Warn("events are in memory only until the state directory takes them: a restart would forget them", "err", err)
		case err == nil && failed != nil:
			g.Log.Info("events are kept over a restart again")
		}
		if ending {
			return
		}
		if failed = err; err != nil {
			again, more = time.After(recordRetry), nil
		}
		select {
		case <-more:
		case <-again:
		case <-end:
			ending = true
		}
	}
}

// recorder hands events to the kernel at once, so that the end of the process loses none, and has the kernel put them on the
// disk once in syncEvery.
type recorder struct {
	to       Record
	written  uint64 // the number of the last event that the kernel has
	unsynced bool   // the disk does not have all of these
	synced   time.Time
}

// keep writes events. It wants to be called again when the channel says so, with new events or without. With all, they
// are on the disk when it returns.
func (r *recorder) keep(list []Event, all bool) (again <-chan time.Time, err error) {
	if err := r.write(list); err != nil || !r.unsynced {
		return nil, err
	}
	if early := time.Until(r.synced.Add(syncEvery)); early > 0 && !all {
		return time.After(early), nil
	}
	r.synced = time.Now()
	err = r.to.Sync()
	r.unsynced = err != nil
	return nil, err
}

func (r *recorder) write(list []Event) error {
	if len(list) == 0 {
		return nil
	}
	records := make([][]byte, 0, len(list))
	for _, e := range list {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		records = append(records, b)
	}
	if err := r.to.Append(records...); err != nil {
		return err
	}
	r.written, r.unsynced = list[len(list)-1].Number, true
	return nil
}

// maxNumber bounds what is believed of a record.
const maxNumber = 1 << 53

// lastOf is the last event among records.
func lastOf(records [][]byte) (e Event, ok bool) {
	for i := len(records) - 1; i >= 0; i-- {
		if e = (Event{}); json.Unmarshal(records[i], &e) == nil && e.Number <= maxNumber {
			return e, true
		}
	}
	return Event{}, false
}

// recall puts the events of earlier runs, up to a number, before those of this one. A record that is no event, or out of
// order, is left out.
func (l *events) recall(records [][]byte, most uint64) {
	out := make([]Event, 0, len(records))
	for _, r := range records {
		var e Event
		if json.Unmarshal(r, &e) == nil && e.Number <= most && (len(out) == 0 || e.Number > out[len(out)-1].Number) {
			out = append(out, e)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(out, l.last...)
}
