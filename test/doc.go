// Package test holds the tests of the whole system, a file for each promise:
// vpngw's binary in network namespaces (package lab), against strongSwan and
// against itself. layering_test.go is the map of the house.
//
// They need root. SOAK=1 takes full counts and matrices in place of samples, and holds times
// and losses to their bars.
package test
