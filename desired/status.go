package desired

import (
	"context"
	"time"

	"vpngw/gateway"
)

// Status is what runs, and whether it is what the source says.
type Status struct {
	gateway.Status
	Reload *ReloadStatus `json:"reload,omitempty"` // absent: the last reload, or the start, is what runs
}

// ReloadStatus is a reload that waits for its confirmation, or that the daemon has gone back on.
type ReloadStatus struct {
	State string    `json:"state"` // "unconfirmed", "gone-back"
	Until time.Time `json:"until"` // when the daemon goes back, or was to go back
	Note  string    `json:"note"`  // a sentence
}

// Status is the gateway's, with what is to be known of the last reload.
func (s *State) Status(ctx context.Context) (Status, error) {
	st, err := s.daemon.Status(ctx)
	return Status{st, s.LastReload()}, err
}

// LastReload is what is to be known of the last reload; nil: it, or the start, is what runs.
func (s *State) LastReload() *ReloadStatus {
	switch t := s.onTrial(); {
	case t == nil:
		return nil
	case t.Back:
		return &ReloadStatus{
			"gone-back", t.until().UTC(),
			goneBack,
		}
	default:
		return &ReloadStatus{
			"unconfirmed", t.until().UTC(),
			"the last reload is on trial: the daemon goes back at " + clock(t.until()) + " unless `vpngw confirm` comes first",
		}
	}
}
