package gateway

import (
	"slices"
	"testing"

	"vpngw/config"
)

func TestUnservedNamesWhatAConnectionAsksForInVain(t *testing.T) {
	all := served
	served = slices.DeleteFunc(slices.Clone(served), func(f config.Feature) bool { return f == config.BGPSessions })
	defer func() { served = all }()
	c := dual()
	c.Tunnels[0].BGP = &config.BGP{}
	c.Tunnels[1].Health = &config.Health{}
	want := config.Features{config.BGPSessions}
	if got := Unserved(c); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Unserved(hq()); len(got) > 0 {
		t.Errorf("a plain connection goes without %v", got)
	}
}
