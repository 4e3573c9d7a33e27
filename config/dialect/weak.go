package dialect

import (
	"strings"

	"vpngw/ipsec"
)

// Weaknesses warns once of each weak algorithm of a connection.
type Weaknesses struct {
	told map[string]bool
}

// WarnAggressive warns of aggressive mode, which v chooses.
func WarnAggressive(c *Check, v *Value, aggressive bool) {
	if aggressive {
		c.Warn(v, Weak, "aggressive mode is weak: the identities go in clear, and whoever hears or asks for one answer can try pre-shared keys on it at home; take main mode or IKEv2, or a long random key")
	}
}

// Tell warns if t, which v names, is weak according to RFC 8247 or RFC 8221.
func (w *Weaknesses) Tell(c *Check, v *Value, t ipsec.Transform) {
	why := t.Weak()
	same := strings.TrimPrefix(t.String(), "prf") // a weak hash is weak for any purpose
	if why == "" || w.told[same] {
		return
	}
	if w.told == nil {
		w.told = map[string]bool{}
	}
	w.told[same] = true
	if !v.Given {
		why += "; it holds by default"
	}
	name := t.String()
	if word := v.Text(); word != "" && word != name {
		name = word + " (" + name + ")"
	}
	c.Warn(v, Weak, "%s is weak: %s", name, why)
}
