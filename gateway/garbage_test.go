package gateway

import (
	"runtime/debug"
	"testing"
)

func TestBurstsEndAtThePercentOfTheirEnd(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer func() { collector.percent = 0; debug.SetGCPercent(before) }()
	is := func(want int) {
		t.Helper()
		got := debug.SetGCPercent(100)
		if debug.SetGCPercent(got); got != want {
			t.Errorf("%d %% of garbage, want %d", got, want)
		}
	}
	allowGarbage(garbage)
	end := Burst()
	is(garbage) // with few tunnels it is no burden
	end()
	allowGarbage(garbageStart)
	end = Burst()
	is(garbageBurst)
	end()
	is(garbageStart)
	allowGarbage(garbageMany)
	is(garbageMany)
	one, two := Burst(), Burst()
	is(garbageBurst)
	one()
	is(garbageBurst)
	allowGarbage(garbage) // a reload begins
	is(garbageBurst)
	two()
	is(garbage)
}
