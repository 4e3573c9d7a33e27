package gateway

import (
	"strings"
	"testing"

	"vpngw/ipsec"
)

func TestAPeerThatIsSilentOnESNIsNoted(t *testing.T) {
	if got := noteOf(&ipsec.ChildSA{}); got != "" {
		t.Errorf("a peer that says all is noted: %q", got)
	}
	if got := noteOf(&ipsec.ChildSA{SilentESN: true}); !strings.Contains(got, "ESN") {
		t.Errorf("noted: %q", got)
	}
}
