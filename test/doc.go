// Package test holds the tests of the whole system, a file for each promise:
// vpngw's binary in network namespaces (package lab), against strongSwan and
// against itself. layering_test.go says which package may import which.
//
// They need root. SOAK=1 runs full counts and matrices instead of samples, and holds times
// and losses to their bars.
package test
