package lab

import "sync/atomic"

var interrupted atomic.Bool

// Hold returns at once, unless the process has been told to end: then it does
// not return at all, so that nothing new is made while the Labs are being
// closed.
func Hold() {
	if interrupted.Load() {
		select {}
	}
}
