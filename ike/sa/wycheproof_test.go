package sa

import (
	"testing"

	"vpngw/ipsec/wycheproof"
)

// vector is a test of Project Wycheproof, with the fields of the kinds used here.
type vector struct {
	ID      int `json:"tcId"`
	Comment string
	Flags   []string
	Result  string // valid, invalid, acceptable

	Key, Msg, Tag           string // MacTest
	Public, Private, Shared string // EcdhEcpointTest, XdhComp
}

// vectors reads one file of vectors.
func vectors(t *testing.T, file string) []vector {
	t.Helper()
	var tests struct {
		TestGroups []struct{ Tests []vector }
	}
	wycheproof.Read(t, file, &tests)
	var all []vector
	for _, g := range tests.TestGroups {
		all = append(all, g.Tests...)
	}
	return all
}
