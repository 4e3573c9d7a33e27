package dialect

import "vpngw/diag"

// Reason is why a value is wrong: the last part of a code of ours.
type Reason string

const (
	Missing     Reason = "missing"
	Unknown     Reason = "unknown"     // a key that the table does not have
	Twice       Reason = "twice"       // it stands there a second time
	WrongType   Reason = "type"        // a list for a text, a text for a number
	Malformed   Reason = "malformed"   // it does not read as what it should be
	Illegal     Reason = "illegal"     // it reads, and is not allowed
	TooMany     Reason = "too-many"    // more entries than allowed
	Unsupported Reason = "unsupported" // it is allowed, and vpngw does not serve it
	NotFound    Reason = "not-found"   // it names something that is not there
	Ambiguous   Reason = "ambiguous"   // it stands for one of several, or for too few
	Conflict    Reason = "conflict"    // it does not go with something else
	Weak        Reason = "weak"        // an algorithm that the RFCs advise against
	HostBits    Reason = "host-bits"   // a CIDR block with bits behind its mask
	Older       Reason = "older"       // an older version of the page allows it
	NoEffect    Reason = "no-effect"   // nothing comes of it
	Exposed     Reason = "exposed"     // others can read it

	// Invalid stands in Codes for all of WrongType, Malformed, Illegal and
	// TooMany that have no code of their own there.
	Invalid Reason = "invalid"
)

// Codes are the error codes that a cloud's page gives for a parameter.
type Codes map[Reason]string

// code is the code of a problem with v. The clouds' codes are of errors, so a warning has ours.
func (v *Value) code(why Reason, s diag.Severity) string {
	name := "config"
	if v.Row != nil && v.Row.Name != "" {
		name = v.Row.Name
	}
	if v.Row != nil && s == diag.Error {
		if code := v.Row.Codes[why]; code != "" {
			return code
		}
		switch why {
		case WrongType, Malformed, Illegal, TooMany:
			if code := v.Row.Codes[Invalid]; code != "" {
				return code
			}
		}
	}
	return "vpngw." + name + "." + string(why)
}
