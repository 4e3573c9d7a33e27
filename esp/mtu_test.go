package esp

import (
	"testing"

	"vpngw/ipsec"
)

func TestMTUFitsExactlyAndOneMoreDoesNot(t *testing.T) {
	for _, s := range allSuites() {
		out, _, _ := halves(t, s)
		for _, udp := range []bool{false, true} {
			for _, v6 := range []bool{false, true} {
				outer := ipv4Header
				if v6 {
					outer = ipv6Header
				}
				if udp {
					outer += udpHeader
				}
				for outerMTU := 576; outerMTU < 1600; outerMTU++ {
					mtu := MTU(outerMTU, s.Suite, s.trunc96, udp, v6)
					if fits, over := outer+out.sealed(mtu), outer+out.sealed(mtu+1); fits > outerMTU || over <= outerMTU {
						t.Fatalf("%v udp %v v6 %v: outer MTU %d: %d bytes take %d, one more %d", s, udp, v6, outerMTU, mtu, fits, over)
					}
				}
			}
		}
	}
}

func TestMTUOfKnownSuites(t *testing.T) {
	for _, tt := range []struct {
		suite   string
		trunc96 bool
		udp, v6 bool
		want    int
	}{
		// 1500 - 20 - 8 - 8 - 8 - 16 = 1440, of which 2 are the trailer
		{"aes128gcm16", false, true, false, 1438},
		{"aes128gcm16", false, false, false, 1446},
		{"aes128gcm16", false, false, true, 1426},
		// 1500 - 20 - 8 - 8 - 16 - 16 = 1432, 89 blocks are 1424
		{"aes128-sha256", false, true, false, 1422},
		// 4 bytes of ICV less: 1436, still 89 blocks
		{"aes128-sha256", true, true, false, 1422},
		{"3des-md5", false, false, false, 1446},
	} {
		if got := MTU(1500, named(t, tt.suite), tt.trunc96, tt.udp, tt.v6); got != tt.want {
			t.Errorf("%+v: got %d", tt, got)
		}
	}
}

func TestMTUOfNothing(t *testing.T) {
	for outer := range 40 {
		if got := MTU(outer, named(t, "aes128gcm16"), false, true, true); got != 0 {
			t.Errorf("outer MTU %d: %d", outer, got)
		}
	}
	if got := MTU(1500, ipsec.Suite{}, false, false, false); got != 0 {
		t.Errorf("no suite: %d", got)
	}
}
