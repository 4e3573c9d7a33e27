package host

import "golang.org/x/sys/unix"

const seccompAudit = unix.AUDIT_ARCH_AARCH64

// refusedCallsHere are those of refusedCalls that not every architecture has.
var refusedCallsHere = []uint32{unix.SYS_RENAMEAT}
