package gateway

import (
	"context"
	"testing"
	"testing/synctest"
)

func (h *fakeHost) Discard(ctx context.Context) error {
	h.mu.Lock()
	h.discards++
	h.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (h *fakeHost) Discarded() uint64 { return 7 }

func TestCleartextIsDiscardedUnlessTheConfigurationAcceptsIt(t *testing.T) {
	for _, accept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := configOf(hq())
			c.AcceptCleartext = accept
			r := start(t, officeHost(), c, Options{})
			defer r.stop()
			if got := r.host.discards; got != map[bool]int{false: 1, true: 0}[accept] {
				t.Errorf("accept %v: %d calls of Discard", accept, got)
			}
		})
	}
}
