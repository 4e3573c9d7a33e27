package gateway

import (
	"slices"

	"vpngw/config"
)

// aligned is a planned tunnel with the lists of the running one where the two differ in nothing but the order, which
// says nothing: that is no change, and Child SAs keep their names.
func aligned(is, was *config.Tunnel) *config.Tunnel {
	if is == was {
		return is
	}
	t := *is
	moved := align(&t.Local.Subnets, was.Local.Subnets)
	moved = align(&t.Remote.Subnets, was.Remote.Subnets) || moved
	moved = align(&t.Routes, was.Routes) || moved
	moved = align(&t.Pairs, was.Pairs) || moved
	if t.BGP != nil && was.BGP != nil {
		b := *t.BGP
		t.BGP = &b
		moved = align(&b.Announce, was.BGP.Announce) || moved
		moved = align(&b.Export, was.BGP.Export) || moved
		moved = align(&b.Accept, was.BGP.Accept) || moved
		moved = align(&b.Never, was.BGP.Never) || moved
		moved = align(&b.NeverTell, was.BGP.NeverTell) || moved
		moved = align(&b.Communities, was.BGP.Communities) || moved
	}
	if !moved {
		return is
	}
	return &t
}

// align makes *list the other list if the two are one in another order.
func align[T comparable](list *[]T, other []T) bool {
	if len(*list) != len(other) || slices.Equal(*list, other) {
		return false
	}
	counts := make(map[T]int, len(other))
	for _, v := range other {
		counts[v]++
	}
	for _, v := range *list {
		if counts[v]--; counts[v] < 0 {
			return false
		}
	}
	*list = other
	return true
}
