package alibaba

import (
	"strings"

	"vpngw/ipsec"
)

// The rules for texts, for dialect.Text.Check: each returns what a text must do and does
// not, or empty.

func ascii(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r > '~' || r < ' ' }) >= 0 {
		return "hold ASCII characters only"
	}
	return ""
}

func noURL(s string) string {
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return "not begin with http:// or https://"
	}
	return ""
}

// pskSpecials are the page's special characters; its list escapes the backquote.
const pskSpecials = "~!`@#$%^&*()_-+={}[]|;:',.<>/?"

// pskLetters is the alphabet of a key that the cloud chooses.
const pskLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func pskCharacters(s string) string {
	for _, c := range []byte(s) {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte(pskSpecials, c) >= 0) {
			return "hold only letters, digits and " + pskSpecials
		}
	}
	return ""
}

// pskWant applies the page's rule to a key from a file.
func pskWant(k ipsec.Secret) string {
	if len(k) < 1 || len(k) > 100 {
		return "have 1 to 100 characters"
	}
	return pskCharacters(string(k))
}

func tagCharacters(s string) string {
	switch {
	case strings.HasPrefix(s, "aliyun"), strings.HasPrefix(s, "acs:"):
		return "not begin with aliyun or acs:"
	case strings.Contains(s, "http://"), strings.Contains(s, "https://"):
		return "not contain http:// or https://"
	}
	return ""
}
