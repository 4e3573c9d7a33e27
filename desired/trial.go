package desired

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"vpngw/diag"
	"vpngw/gateway"
)

// A reload on trial goes back by itself unless it is confirmed. It goes back too when the daemon ends before, however
// it ends: what ran before is kept in the state directory, as its whole text, because the files that it came from have
// changed by then. No time is looked at then: a trial does not outlive its daemon, so no clock that was set meanwhile can prolong it. The text has keys in it, so the record is for its owner alone (see store), and it is there
// only until something is confirmed or reloaded.
//
// After going back the record stays. The file still has the text that nobody has confirmed, and a restart must not run
// it: it may be what has locked the operator out. A file that was edited since is another text, and is run.

// trial is a reload on trial, or one that was gone back on.
type trial struct {
	Until    time.Time       `json:"until"`    // the time of its end unless it is confirmed
	Back     bool            `json:"back"`     // what ran before runs again
	Digest   string          `json:"digest"`   // of the text that was not confirmed
	Previous json.RawMessage `json:"previous"` // the text of what ran before

	before *Loaded // what ran before; nil after a restart
}

// until is Until as the wall clock has it now. A trial lasts by the monotonic clock, whatever the wall clock is set to.
func (t *trial) until() time.Time { return gateway.ByClock(time.Now(), t.Until) }

const trialRecord = "unconfirmed.json"

// Bounds on the time to confirm a reload.
const (
	MinTrial = 5 * time.Second
	MaxTrial = time.Hour
)

// retryBack is the time to the next try to go back, after one that has failed.
const retryBack = 5 * time.Second

// PendingError is the answer to a reload while another waits for its confirmation.
type PendingError struct{ Until time.Time }

func (e *PendingError) Error() string {
	return "the last reload waits for its confirmation until " + clock(e.Until) +
		": keep it with `vpngw confirm`, or wait until the daemon goes back; nothing was changed"
}

// NotPendingError is the answer to a confirmation that nothing waits for.
type NotPendingError struct{ Back bool }

func (e *NotPendingError) Error() string {
	if e.Back {
		return "too late: the daemon has gone back to the configuration before the last reload; `vpngw reload` adopts the file again"
	}
	return "no reload waits for its confirmation; `vpngw reload --confirm 60s` makes one that does"
}

const goneBack = "the last reload was not confirmed: what runs is the configuration before it, and not the file's; `vpngw reload` adopts the file"

func clock(t time.Time) string { return t.Local().Format("15:04:05") }

func (s *State) onTrial() *trial {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trial
}

func (s *State) set(running *Loaded, t *trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.trial = running, t
}

// First loads what is to run from the start on: the source, or what ran before a reload that nobody has
// confirmed. A nil Config, or a refusal among the problems, means that nothing can run.
func (s *State) First() (*Loaded, diag.Problems, error) {
	l, problems, err := s.first()
	if err != nil || l == nil || problems.Refused() {
		return nil, problems, err
	}
	s.running = l
	return l, problems, nil
}

func (s *State) first() (*Loaded, diag.Problems, error) {
	record, err := s.dir.Get(trialRecord)
	if errors.Is(err, fs.ErrNotExist) {
		l, problems := s.source.Load()
		return l, problems, nil
	}
	path := s.dir.Path(trialRecord)
	var t trial
	if err == nil && s.source.Trusted != nil {
		err = s.source.Trusted(path)
	}
	if err == nil {
		err = json.Unmarshal(record, &t)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s, which has what ran before a reload that was not confirmed: %w; remove it to run the configuration file", path, err)
	}
	if t.Back {
		l, problems := s.source.Load()
		if l != nil && !problems.Refused() && digest(l) != t.Digest {
			s.log.Info("the configuration file was changed since a reload of it was not confirmed: it runs")
			return l, problems, s.dir.Delete(trialRecord)
		}
	}
	l, problems := s.source.Again(t.Previous)
	if l == nil || problems.Refused() {
		return nil, problems, fmt.Errorf("what ran before a reload that was not confirmed cannot run any more; remove %s to run the configuration file", path)
	}
	if !t.Back {
		t.Back = true
		if err := s.put(&t); err != nil {
			s.log.Error("cannot note that the daemon has gone back", "err", err)
		}
	}
	s.trial = &t
	s.log.Warn(goneBack)
	return l, problems, nil
}

// Try is a Reload that the daemon goes back on after a time, or when it ends before, unless Confirm comes first.
func (s *State) Try(ctx context.Context, during time.Duration) (Reloaded, error) {
	if during < MinTrial || during > MaxTrial {
		return Reloaded{}, fmt.Errorf("the time to confirm must be from %v to %v, and is %v", MinTrial, MaxTrial, during)
	}
	if err := take(ctx, s.token); err != nil {
		return Reloaded{}, err
	}
	defer release(s.token)
	next, problems, err := s.load()
	if err != nil {
		return Reloaded{}, err
	}
	was := s.onTrial()
	t := &trial{before: s.running, Until: time.Now().Add(during), Digest: digest(next)}
	if t.Previous, err = s.running.Text(); err == nil {
		err = s.put(t)
	}
	if err != nil {
		return Reloaded{}, fmt.Errorf("cannot keep what runs now, to go back to it after a restart; nothing was changed: %w", err)
	}
	done, err := s.daemon.AdoptForNow(ctx, next.Config)
	if err != nil {
		undo := func() error { return s.dir.Delete(trialRecord) }
		if was != nil {
			undo = func() error { return s.put(was) }
		}
		s.tell(diag.Cause{}, done, err)
		return Reloaded{}, errors.Join(err, undo())
	}
	s.tell(diag.Cause{Code: diag.ConfigOnTrial, After: during}, done, nil)
	t.Until = time.Now().Add(during)
	s.set(next, t)
	s.alarm(during)
	s.log.Warn("reload on trial: the daemon goes back unless `vpngw confirm` comes first", "until", clock(t.Until), "code", diag.ConfigOnTrial)
	return Reloaded{done, append(diag.Problems{}, problems...)}, nil
}

// Confirm keeps what a Try has adopted.
func (s *State) Confirm(ctx context.Context) error {
	if err := take(ctx, s.token); err != nil {
		return err
	}
	defer release(s.token)
	t := s.onTrial()
	if t == nil || t.Back {
		return &NotPendingError{t != nil}
	}
	if err := s.settle(s.running); err != nil {
		return err
	}
	s.log.Info("the reload is confirmed", "code", diag.ConfigConfirmed)
	s.daemon.Tell(diag.Cause{Code: diag.ConfigConfirmed})
	return s.daemon.Keep(ctx)
}

// settle notes that what runs is what was asked for: a restart will not go back.
func (s *State) settle(running *Loaded) error {
	if t := s.onTrial(); t != nil {
		if err := s.dir.Delete(trialRecord); err != nil {
			s.set(running, t)
			return fmt.Errorf("a restart of the daemon would go back to the configuration before: %w; try again, or remove %s", err, s.dir.Path(trialRecord))
		}
	}
	s.set(running, nil)
	return nil
}

// alarm has Run look after a time whether a confirmation is overdue.
func (s *State) alarm(after time.Duration) {
	time.AfterFunc(after, func() {
		select {
		case s.expired <- struct{}{}:
		default: // Run has not looked yet
		}
	})
}

// expire goes back if the confirmation of what runs is overdue.
func (s *State) expire(ctx context.Context) {
	if take(ctx, s.token) != nil {
		return
	}
	defer release(s.token)
	t := s.onTrial()
	if t == nil || t.Back || time.Now().Before(t.Until) {
		return
	}
	if _, err := s.daemon.Adopt(ctx, t.before.Config); err != nil {
		if ctx.Err() == nil {
			s.log.Error("cannot go back to the configuration before the last reload", "err", err, "retry_in", retryBack)
			s.alarm(retryBack)
		}
		return
	}
	back := *t
	back.Back, back.before = true, nil
	if err := s.put(&back); err != nil { // a restart goes back in any case
		s.log.Error("cannot note that the daemon has gone back", "err", err)
	}
	s.set(t.before, &back)
	s.log.Warn("the reload was not confirmed: the configuration before it runs again, and not the file's; `vpngw reload` adopts the file", "code", diag.ConfigGoneBack)
	s.daemon.Tell(diag.Cause{Code: diag.ConfigGoneBack})
}

func (s *State) put(t *trial) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.dir.Put(trialRecord, text)
}

// digest tells texts apart. Empty: there is none.
func digest(l *Loaded) string {
	text, err := l.Text()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
