package ikev2

import (
	"testing"
	"time"
)

// What an IKE SA needs for its handshake alone is let go of after it, and selectors that were agreed on as they are configured
// are in memory once.
func TestAnEstablishedSAIsSmall(t *testing.T) {
	w := newWorld(t, nil)
	w.start()
	w.run(5 * time.Second)
	for name, h := range map[string]*host{"initiator": w.a, "responder": w.b} {
		s := h.current()
		if s.handshake != nil {
			t.Errorf("%s: the handshake is kept", name)
		}
		c := s.fam.children[0]
		if &c.sa.Local[0] != &c.cfg.Local[0] || &c.sa.Remote[0] != &c.cfg.Remote[0] {
			t.Errorf("%s: the selectors %v and %v are in memory twice", name, c.sa.Local, c.sa.Remote)
		}
	}
}
