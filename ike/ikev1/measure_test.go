package ikev1

import (
	"strings"
	"testing"
)

// Libreswan drops a message with a Notify whose type it does not know, so what fills a probe has a type that the RFCs name, and that is no error.
func TestAProbeIsFilledWithANotifyThatPeersKnow(t *testing.T) {
	if name := padding.String(); strings.HasPrefix(name, "notify ") || padding.IsError() {
		t.Errorf("a probe is filled with %s", name)
	}
}
