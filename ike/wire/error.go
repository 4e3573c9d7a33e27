package wire

import "fmt"

// NotifyError is a failure that the peer hears of. What it hears is Kind and
// Data; what the operator reads is Why.
type NotifyError struct {
	Kind NotifyType
	Data []byte
	Why  string
}

func (e *NotifyError) Error() string {
	if e.Why == "" {
		return e.Kind.String()
	}
	return e.Kind.String() + ": " + e.Why
}

// UnsupportedCritical is a payload of an unknown type with the critical bit,
// for which the whole message is refused (RFC 7296 section 2.5).
type UnsupportedCritical struct{ Kind PayloadType }

func (e *UnsupportedCritical) Error() string {
	return fmt.Sprintf("critical payload of unknown type %d", uint8(e.Kind))
}

// Notify is what the peer hears: "the Notification Data contains the one-octet
// payload type" (RFC 7296 section 2.5).
func (e *UnsupportedCritical) Notify() *NotifyError {
	return &NotifyError{UnsupportedCriticalPayload, []byte{byte(e.Kind)}, e.Error()}
}

// syntax is the error for a message that does not parse.
func syntax(format string, args ...any) *NotifyError {
	return &NotifyError{Kind: InvalidSyntax, Why: fmt.Sprintf(format, args...)}
}
