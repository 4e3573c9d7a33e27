package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestGroupsStandInTheOrderOfTheFile(t *testing.T) {
	connection := func(name, pair string) *Connection { return &Connection{Name: name, Pair: pair} }
	c := &Config{Connections: []*Connection{
		connection("a", ""), connection("b", "p"), connection("p", ""), connection("c", "q"), connection("d", "p"), connection("e", "q"),
	}}
	var got []string
	for _, g := range Groups(c) {
		var names []string
		for _, conn := range g.Connections {
			names = append(names, conn.Name)
			if conn.Group() != g.Name {
				t.Errorf("connection %s says that its group is %s, and it stands in %s", conn.Name, conn.Group(), g.Name)
			}
		}
		got = append(got, fmt.Sprintf("%s=%s", g.Name, strings.Join(names, "+")))
	}
	if want := []string{"a=a", "pair:p=b+d", "p=p", "pair:q=c+e"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := Groups(&Config{}); len(got) != 0 {
		t.Errorf("no connections make the groups %v", got)
	}
}

// A group is found by its name, so a pair's name must be none that a connection can have.
func TestNoConnectionCanHaveThePairsName(t *testing.T) {
	if name := PairGroup("hq"); CheckName(name) == "" {
		t.Errorf("a connection can be called %q", name)
	}
}

func TestAPairAsksForFailover(t *testing.T) {
	c := &Connection{Tunnels: make([]Tunnel, 1)}
	if got := c.Features(); len(got) != 0 {
		t.Errorf("a connection of its own: got %v", got)
	}
	c.Pair = "hq"
	if got := c.Features(); !slices.Equal(got, Features{Failover}) {
		t.Errorf("a connection of a pair: got %v", got)
	}
	c.Pair, c.Tunnels = "", make([]Tunnel, 2)
	if got := c.Features(); !slices.Equal(got, Features{Failover}) {
		t.Errorf("a connection with two tunnels: got %v", got)
	}
}
