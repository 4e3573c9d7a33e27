package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"vpngw/ipsec"
)

// keyOf is the key that a file holds: without a byte order mark, and without the line ends and blank lines behind the
// key, which no key has; a text of UTF-16 becomes UTF-8. said is what was done, and what may not be meant, a sentence each.
func keyOf(data []byte) (key ipsec.Secret, said []string) {
	if text, ok := fromUTF16(data); ok {
		clear(data)
		data, said = text, append(said, "the file is UTF-16; its text as UTF-8 is taken for the key, so save it as UTF-8")
	} else if rest := withoutMarks(data); len(rest) < len(data) {
		data, said = rest, append(said, "the file begins with a byte order mark, which is left out; save it without one")
	}
	text := oneLineEnd(data)
	if rest := withoutBlankLines(text); len(rest) < len(text) {
		text, said = rest, append(said, "the file has blank lines behind the key, which are left out")
	}
	for _, s := range doubts(text) {
		said = append(said, "the key "+s)
	}
	return ipsec.Secret(text), said
}

// withoutMarks takes away the byte order marks at the begin: where files were joined there are two.
func withoutMarks(data []byte) []byte {
	for bytes.HasPrefix(data, []byte("\ufeff")) {
		data = data[len("\ufeff"):]
	}
	return data
}

func oneLineEnd(data []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
}

// withoutBlankLines takes away the lines at the end that hold nothing but blanks.
func withoutBlankLines(data []byte) []byte {
	for {
		end := bytes.LastIndexByte(data, '\n')
		if last := data[end+1:]; end < 0 || len(bytes.Trim(last, " \t\r")) > 0 {
			return data
		}
		data = oneLineEnd(data[:end+1])
	}
}

// doubts are what may be in a key by mistake, in words that follow "the key".
func doubts(key []byte) (said []string) {
	if len(key) == 0 {
		return nil
	}
	blank := func(c byte) bool { return strings.IndexByte(" \t\r\v\f", c) >= 0 }
	if blank(key[0]) || blank(key[len(key)-1]) {
		said = append(said, "begins or ends with a space or a tab, which counts: take it away unless the other end has it too")
	}
	if s := otherForm(key); s != "" {
		said = append(said, s)
	}
	unseen := bytes.IndexFunc(key, func(r rune) bool {
		return r >= utf8.RuneSelf && (unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Z, r) || unicode.IsControl(r))
	})
	switch {
	case bytes.ContainsAny(key, "\r\n"):
		said = append(said, "has several lines, which all count: leave one unless the other end has them too")
	case slices.ContainsFunc(key, func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }), !utf8.Valid(key):
		said = append(said, "holds bytes that are no text: the other end must have the same ones")
	case unseen >= 0:
		r, _ := utf8.DecodeRune(key[unseen:])
		said = append(said, fmt.Sprintf("holds a character that nobody sees (U+%04X), which counts: take it away unless the other end has it too", r))
	case slices.ContainsFunc(key, func(c byte) bool { return c >= utf8.RuneSelf }):
		said = append(said, "holds letters beyond ASCII, which count as the bytes of UTF-8: another encoding at the other end is another key")
	}
	return said
}

// otherForm says how a key looks that another program would take for another one.
func otherForm(key []byte) string {
	for _, q := range []string{`""`, "''", "“”", "‘’", "„“", "«»", "``"} {
		open, size := utf8.DecodeRuneInString(q)
		end := q[size:]
		if len(key) > len(q) && bytes.HasPrefix(key, []byte(string(open))) && bytes.HasSuffix(key, []byte(end)) {
			return "is in quotes, which count: take them away unless the other end has them too"
		}
	}
	if who, rest, ok := bytes.Cut(key, []byte("PSK")); ok && bytes.HasSuffix(bytes.TrimRight(who, " \t"), []byte(":")) && bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(`"`)) {
		return "looks like a line of ipsec.secrets, all of which counts: leave what is in its quotes alone in the file"
	}
	for _, word := range []string{"psk", "key", "secret", "password", "pre-shared-key", "pre_shared_key", "presharekey", "authby"} {
		if len(key) > len(word) && bytes.EqualFold(key[:len(word)], []byte(word)) && bytes.IndexAny(bytes.TrimLeft(key[len(word):], " \t"), ":=") == 0 {
			return "looks like a setting of another program, all of which counts: leave the key alone in the file"
		}
	}
	coded := func(prefix string, of string) bool {
		return len(key) > len(prefix)+7 && bytes.HasPrefix(key, []byte(prefix)) && len(bytes.Trim(key[len(prefix):], of)) == 0
	}
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if coded("0x", digits+"abcdefABCDEF") || coded("0s", digits+letters+"+/=") {
		return "begins with 0x or 0s, by which strongSwan and Libreswan mean other bytes than these: here it counts as it stands"
	}
	return ""
}

// fromUTF16 is a text of UTF-16 as UTF-8: with its mark, or ASCII letters with a zero beside each.
func fromUTF16(data []byte) ([]byte, bool) {
	var order binary.ByteOrder
	switch {
	case len(data) < 4 || len(data)%2 != 0:
		return nil, false
	case data[0] == 0xff && data[1] == 0xfe:
		order, data = binary.LittleEndian, data[2:]
	case data[0] == 0xfe && data[1] == 0xff:
		order, data = binary.BigEndian, data[2:]
	case ascii16(data, 0):
		order = binary.LittleEndian
	case ascii16(data, 1):
		order = binary.BigEndian
	default:
		return nil, false
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	runes := utf16.Decode(units)
	clear(units)
	text := []byte(string(runes))
	clear(runes)
	return text, true
}

// ascii16 reports whether every second byte, from at on, is ASCII and the others are 0.
func ascii16(data []byte, at int) bool {
	for i := at; i < len(data); i += 2 {
		if c := data[i]; c == 0 || c >= utf8.RuneSelf || data[i^1] != 0 {
			return false
		}
	}
	return true
}
