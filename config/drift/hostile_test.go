package drift

import (
	"fmt"
	"strings"
	"testing"
)

// One tunnel of two is a difference by itself.
func TestAMissingTunnelIsADrift(t *testing.T) {
	p := pairOf(t, "alibaba with two tunnels")
	from, to := strings.Index(p.answer, `{"TunnelId": "tun-2"`), strings.Index(p.answer, `{"TunnelId": "tun-1"`)
	r := compared(t, view(t, p.here, "customer", false), p.answer[:from]+p.answer[to:])
	if got, want := fmt.Sprintf("%v %v", len(r.Drifts), r.Drifts[0]), "{ TunnelOptionsSpecification one tunnel 2 tunnels  "; !strings.HasPrefix(got, "1 "+want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An id in place of which the file has an address is not known here, and no difference.
func TestAnAddressInPlaceOfAnIDIsNoDrift(t *testing.T) {
	p := pairOf(t, "alibaba")
	here := strings.NewReplacer("vpn-1", "198.51.100.1", "cgw-1", "203.0.113.9").Replace(p.here)
	if r := compared(t, view(t, here, "customer", false), p.answer); len(r.Drifts) > 0 {
		t.Errorf("%+v", r.Drifts)
	}
}

// No answer makes Answer or Compare panic, and none makes them show a key.
func FuzzAnswer(f *testing.F) {
	for _, p := range pairs {
		f.Add(p.answer)
		f.Add(p.answer[:len(p.answer)/2])
		f.Add(strings.ReplaceAll(p.answer, `"`, ``))
		f.Add(strings.NewReplacer("{", "[", "}", "]", ":", ",").Replace(p.answer))
		f.Add(strings.NewReplacer(`"10.10.0.0/16"`, `{"a": ["\u001b[2J"]}`, `"hq"`, `[]`, "86400", "-1e99", "true", "null").Replace(p.answer))
	}
	f.Add(`{"VpnConnections": {"VpnConnection": [1, [], null, "x"]}}`)
	f.Add(`{"VpnConnections": 1}`)
	f.Fuzz(func(t *testing.T, answer string) {
		for _, p := range pairs {
			here := view(t, p.here, "customer", false)
			there, notes, err := Answer(here, "answer.json", []byte(answer))
			if err != nil {
				if strings.Contains(err.Error(), "Not-a-real") || strings.Contains(err.Error(), "\x1b") {
					t.Errorf("%v", err)
				}
				continue
			}
			if got := fmt.Sprintf("%+v", Compare(here, there, notes)); strings.Contains(got, secret) {
				t.Errorf("it shows a key: %s", got)
			}
		}
	})
}
