package config

import (
	"strings"
	"unicode"
)

// SafeName is s with a hyphen in the place of each character that a name may not
// hold: names stand in commands, logs and paths.
func SafeName(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, s)
	s = strings.TrimLeftFunc(s, func(r rune) bool { return strings.ContainsRune("._-", r) || unicode.IsMark(r) })
	if s == "" {
		return "unnamed"
	}
	return s
}

// CheckName returns the rule for connection names that s breaks, or empty.
func CheckName(s string) string {
	if s != SafeName(s) {
		return "hold only letters, digits, dots, hyphens and underscores, and begin with a letter or digit"
	}
	return ""
}

// CheckDevice returns the kernel's rule for device names that s breaks, or empty.
func CheckDevice(s string) string {
	switch {
	case len(s) < 1 || len(s) > 15:
		return "have 1 to 15 bytes"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%", r) }):
		return "hold printable ASCII characters without space, slash, colon and percent sign"
	case s == "." || s == ".." || s == "lo" || s == "all" || s == "default":
		return "not be a name that the kernel uses itself"
	}
	return ""
}
