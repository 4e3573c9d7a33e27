package ikev1

import (
	"fmt"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// dropped is the error of a message that may be anybody's. The sender is told nothing.
type dropped struct {
	why   sa.Drop
	text  string     // for the debug log
	cause diag.Cause // what the message says about the peer, if it is the peer's; OK: nothing
}

func (e *dropped) Error() string { return e.text }

func drop(why sa.Drop, format string, args ...any) error {
	return &dropped{why: why, text: fmt.Sprintf(format, args...)}
}

// dropTelling drops a message and keeps what it says about the peer.
func dropTelling(why sa.Drop, cause diag.Cause) error { return &dropped{why, cause.String(), cause} }

// wrongHash is the error for a HASH payload of phase 1 that does not prove the pre-shared key.
func wrongHash(hash, message string) error {
	return dropTelling(sa.DropBadHash, diag.Cause{Code: diag.HashWrong, Theirs: hash, Message: message})
}

// refusal is the error of an authentic message. The peer is told its kind.
type refusal struct {
	kind  wire.NotifyType1
	cause diag.Cause
}

func (e *refusal) Error() string { return e.kind.String() + ": " + e.cause.String() }

func refuse(kind wire.NotifyType1, cause diag.Cause) error { return &refusal{kind, cause} }

// Refusal is the error of a first message. Its sender may be told the kind.
type Refusal struct {
	Kind  wire.NotifyType1
	Cause diag.Cause
}

func (e *Refusal) Error() string { return e.Kind.String() + ": " + e.Cause.String() }
