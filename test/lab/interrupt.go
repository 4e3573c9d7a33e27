package lab

import "sync/atomic"

var interrupted atomic.Bool

// Hold returns at once, unless the process was interrupted. Then it never
// returns, so that its caller makes nothing new while the Labs are closed.
func Hold() {
	if interrupted.Load() {
		select {}
	}
}
