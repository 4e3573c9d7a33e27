package dialect

import "vpngw/diag"

// Reason is why a value is wrong. It is the last part of vpngw's own codes.
type Reason string

const (
	Missing     Reason = "missing"
	Unknown     Reason = "unknown"     // a key that the table does not have
	Twice       Reason = "twice"       // given a second time
	WrongType   Reason = "type"        // a list for a text, a text for a number
	Malformed   Reason = "malformed"   // it cannot be parsed
	Illegal     Reason = "illegal"     // it can be parsed, and is not allowed
	TooMany     Reason = "too-many"    // more entries than allowed
	Unsupported Reason = "unsupported" // the cloud allows it, and vpngw does not serve it
	NotFound    Reason = "not-found"   // it names something that is not there
	Ambiguous   Reason = "ambiguous"   // it stands for one of several, or for too few
	Conflict    Reason = "conflict"    // it contradicts something else
	Weak        Reason = "weak"        // an algorithm that the RFCs advise against
	HostBits    Reason = "host-bits"   // a CIDR block with bits behind its mask
	Older       Reason = "older"       // an older version of the page allows it
	NoEffect    Reason = "no-effect"   // it changes nothing
	Exposed     Reason = "exposed"     // others can read or change it
	Doubtful    Reason = "doubtful"    // it holds what may not be meant

	// Invalid stands in Codes for WrongType, Malformed, Illegal and TooMany where
	// these have no code of their own.
	Invalid Reason = "invalid"
)

// Codes are the error codes that a cloud's page gives for a parameter.
type Codes map[Reason]string

// code is the code of a problem with v. The clouds have codes for errors only, so a
// warning has one of vpngw's.
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
