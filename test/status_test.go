package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// `vpngw status` of a real daemon fits 100 columns, and of 500 tunnels it is there in less than 100 ms.
func TestStatusOfManyTunnels(t *testing.T) {
	t.Parallel()
	n := counted(20, 500)
	l := lab.Direct(t)
	l.Cloud.Vpngw(many(n, false, nil))
	gw := l.Customer.Vpngw(many(n, true, nil))
	l.Await(10*time.Minute, "all tunnels are up", func() (bool, string) {
		up := strings.Count(gw.Command("status"), " + up ")
		return up == n, fmt.Sprintf("%d of %d", up, n)
	})
	var took []time.Duration
	for range 21 {
		begin := time.Now()
		text := gw.Command("status")
		took = append(took, time.Since(begin))
		for line := range strings.Lines(text) {
			if len([]rune(line)) > 101 {
				t.Fatalf("longer than 100 columns: %s", line)
			}
		}
		if want := fmt.Sprintf("\n%d tunnels: %d up\n", n, n); !strings.HasSuffix(text, want) {
			t.Fatalf("%q is not the end of\n%s", want, text)
		}
	}
	slices.Sort(took)
	t.Logf("status of %d tunnels: median %v, longest %v", n, took[len(took)/2], took[len(took)-1])
	if soak && took[len(took)/2] > 100*time.Millisecond {
		t.Errorf("status of %d tunnels took %v (median), bar 100 ms", n, took[len(took)/2])
	}
	// One tunnel whole, with what only a real daemon knows.
	one := gw.Command("status", "c7")
	for _, want := range []string{"c7: + up for ", "IKE SA      IKEv2, established, ", "10.64.7.0/25 === 10.64.7.128/25", "leak        none"} {
		if !strings.Contains(one, want) {
			t.Errorf("there is no %q in\n%s", want, one)
		}
	}
}
