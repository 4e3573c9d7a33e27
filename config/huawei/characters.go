package huawei

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"vpngw/ipsec"
)

// The rules for texts, for dialect.Text.Check: each returns what a text must do and does
// not, or empty.

// nameCharacters allows letters of every language, as the Chinese page and console do.
func nameCharacters(s string) string {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r) {
			return "hold only letters, digits, underscores, hyphens and periods"
		}
	}
	return ""
}

func idCharacters(s string) string {
	if strings.ContainsAny(s, "&<>[]\\") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return `hold neither a space nor any of & < > [ ] \`
	}
	return ""
}

// tagCharacters allows letters of every language; the page names Spanish and Portuguese.
func tagCharacters(s string) string {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" _.:=+-@", r) {
			return "hold only letters, digits, spaces and _ . : = + - @"
		}
	}
	return ""
}

// pskSpecials are the page's special characters, among them a space.
const pskSpecials = "~!@#$%^()-_+={ },./:;"

func pskCharacters(s string) string {
	var classes [4]bool
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z':
			classes[0] = true
		case 'a' <= c && c <= 'z':
			classes[1] = true
		case '0' <= c && c <= '9':
			classes[2] = true
		case strings.IndexByte(pskSpecials, c) >= 0:
			classes[3] = true
		default:
			return "hold only letters, digits and " + pskSpecials
		}
	}
	n := 0
	for _, has := range classes {
		if has {
			n++
		}
	}
	if n < 3 {
		return "have three of these four: upper case letters, lower case letters, digits, special characters"
	}
	return ""
}

// pskWant applies the page's rule to a key from a file.
func pskWant(k ipsec.Secret) string {
	if len(k) < 8 || len(k) > 128 {
		return "have 8 to 128 characters"
	}
	return pskCharacters(string(k))
}

// tunnelAddress refuses the tunnel addresses that the page excepts.
func tunnelAddress(a netip.Addr) string {
	for _, r := range reserved {
		if r.Contains(a) {
			return fmt.Sprintf("not be in %v", r)
		}
	}
	return ""
}
