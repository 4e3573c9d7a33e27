// Package ikev1 is one ISAKMP SA of RFC 2409 with its quick modes, as a
// sa.Machine: no I/O, no goroutine, no clock.
package ikev1
