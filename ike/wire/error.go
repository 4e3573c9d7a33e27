package wire

import (
	"fmt"

	"vpngw/diag"
)

// NotifyError is a failure of which a notification tells the peer. The notification
// has Kind and Data; the operator reads Cause.
type NotifyError struct {
	Kind  NotifyType
	Data  []byte
	Cause diag.Cause
}

func (e *NotifyError) Error() string {
	if e.Cause.OK() {
		return e.Kind.String()
	}
	return e.Kind.String() + ": " + e.Cause.String()
}

// UnsupportedCritical is the error for a payload of an unknown type with the critical
// bit. The whole message is refused because of it (RFC 7296 section 2.5).
type UnsupportedCritical struct{ Kind PayloadType }

func (e *UnsupportedCritical) Error() string {
	return fmt.Sprintf("critical payload of unknown type %d", uint8(e.Kind))
}

// Notify makes the notification for the peer: "the Notification Data contains the one-octet
// payload type" (RFC 7296 section 2.5).
func (e *UnsupportedCritical) Notify() *NotifyError {
	return &NotifyError{UnsupportedCriticalPayload, []byte{byte(e.Kind)}, malformed(e.Error())}
}

// syntax is the error for a message that does not parse.
func syntax(format string, args ...any) *NotifyError {
	return &NotifyError{Kind: InvalidSyntax, Cause: malformed(fmt.Sprintf(format, args...))}
}

// malformed is the Cause of a message that does not parse.
func malformed(err string) diag.Cause { return diag.Cause{Code: diag.Malformed, Err: err} }
