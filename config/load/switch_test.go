package load

import (
	"fmt"
	"strings"
	"testing"

	"vpngw/config/native"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// A switch is on or off in each way that YAML and JSON have for it, with quotes or without.
func TestSwitchesInEveryWord(t *testing.T) {
	for _, on := range []bool{true, false} {
		words := map[bool][]string{true: {"true", "yes", "on", "True", "ON"}, false: {"false", "no", "off", "False", "OFF"}}[on]
		for _, word := range words {
			for _, written := range []string{word, `"` + word + `"`, "'" + word + "'"} {
				c, ps := parseText(nil, "f", []byte(lab(key+"\n      natt: "+written+"\n      esp: {esn: "+written+"}", "dpd: "+written+"\n    copy_dscp: "+written)))
				if c == nil {
					t.Errorf("%s: refused:\n%s", written, lines(ps))
					continue
				}
				tun := c.Connections[0].Tunnels[0]
				want := map[bool]dpd.Config{true: native.Liveness}[on]
				esn := fmt.Sprint(tun.ESPProposals[0].Of(ipsec.ESN))
				if tun.DPD != want || tun.NATT != on || tun.CopyDSCP != on || strings.Contains(esn, "noesn") == on {
					t.Errorf("%s: got DPD %v, NAT traversal %v, DSCP %v, %s", written, tun.DPD, tun.NATT, tun.CopyDSCP, esn)
				}
			}
		}
	}
}
