package ike

import (
	"slices"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// v1 makes two peers speak IKEv1 in main mode, with Alibaba's default algorithms.
func v1(pa, pb *sa.Peer) {
	for _, p := range []*sa.Peer{pa, pb} {
		p.Version = 1
		p.Proposals = proposals(ipsec.ProtoIKE, "aes128-md5-modp1024")
		for _, c := range p.Children {
			c.Proposals = proposals(ipsec.ProtoESP, "aes128-md5-modp1024")
		}
	}
}

func aggressive(pa, pb *sa.Peer) {
	v1(pa, pb)
	pa.Aggressive, pb.Aggressive = true, true
}

// both runs a test in main and in aggressive mode.
func both(t *testing.T, f func(t *testing.T, change func(pa, pb *sa.Peer))) {
	t.Run("main", func(t *testing.T) { f(t, v1) })
	t.Run("aggressive", func(t *testing.T) { f(t, aggressive) })
}

func TestV1ConnectsAndInstallsInOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(pa, pb *sa.Peer)
		a, b   []string
	}{
		{
			"main", v1,
			[]string{
				"send main mode 0", "send main mode 0", "send main mode 0", // HDR, SA --> HDR, KE, Ni --> HDR*, IDii, HASH_I -->
				"send quick mode", "in", "send quick mode", "out", // HDR*, HASH(1), SA, Ni --> (QM2) HDR*, HASH(3) -->
			},
			[]string{
				"send main mode 0", "send main mode 0", "send main mode 0",
				"in", "send quick mode", "out", // ready before HDR*, HASH(2) goes out
			},
		},
		{
			"aggressive", aggressive,
			[]string{"send aggressive mode 0", "send aggressive mode 0", "send quick mode", "in", "send quick mode", "out"},
			[]string{"send aggressive mode 0", "in", "send quick mode", "out"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := pairOf(t, c.change)
			w.run(time.Second)
			wantPairs(t, a, b, 1)
			wantIKE(t, a, b, 1)
			if got := trimIDs(a.trace); !slices.Equal(got, c.a) {
				t.Errorf("the initiator did %q", got)
			}
			if got := trimIDs(b.trace); !slices.Equal(got, c.b) {
				t.Errorf("the responder did %q", got)
			}
			if in := a.ikeOf(); in.Version != 1 || in.Suite.String() != "aes128-md5-prfmd5-modp1024" {
				t.Errorf("got IKEv%d with %v", in.Version, in.Suite)
			}
		})
	}
}

// trimIDs removes the random message ids of quick modes from a trace.
func trimIDs(trace []string) []string {
	var out []string
	for _, s := range trace {
		if len(s) > 15 && s[:15] == "send quick mode" {
			s = s[:15]
		}
		out = append(out, s)
	}
	return out
}
