package gateway

import "testing"

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		configured, processors int
		want                   layout
	}{
		{0, 1, layout{threads: 2, from: 0, to: 1, raw: 1}},
		{0, 3, layout{threads: 2, from: 0, to: 1, raw: 1}},
		{0, 4, layout{threads: 2, from: 1, to: 2, raw: 0}},
		{0, 7, layout{threads: 2, from: 1, to: 2, raw: 0}},
		{0, 8, layout{threads: 3, from: 1, to: 3, raw: 0}},
		{0, 64, layout{threads: 3, from: 1, to: 3, raw: 0}},
		{1, 8, layout{threads: 1, from: 0, to: 1, raw: 0}},
		{4, 2, layout{threads: 4, from: 1, to: 4, raw: 0}},
	} {
		if got := layoutOf(c.configured, c.processors); got != c.want {
			t.Errorf("%d configured, %d processors: %+v, want %+v", c.configured, c.processors, got, c.want)
		}
	}
}
