package load

import (
	"strings"
	"testing"
	"unicode/utf16"
)

func utf16Of(s string, big bool) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		if big {
			b.Write([]byte{byte(u >> 8), byte(u)})
		} else {
			b.Write([]byte{byte(u), byte(u >> 8)})
		}
	}
	return b.String()
}

// What editors put around a key is no part of it; what may be meant stays, with a warning.
func TestKeyFilesAsEditorsWriteThem(t *testing.T) {
	const key = "not-a-real-secret"
	for name, tt := range map[string]struct{ data, key, warns string }{
		"one line":                    {key + "\n", key, ""},
		"no line end":                 {key, key, ""},
		"CR LF":                       {key + "\r\n", key, ""},
		"byte order mark":             {"\ufeff" + key + "\n", key, "byte order mark"},
		"blank line":                  {key + "\n\n", key, "blank lines"},
		"blank lines of CR LF":        {key + "\r\n\r\n\r\n", key, "blank lines"},
		"a line of blanks":            {key + "\n \t \n", key, "blank lines"},
		"a line of blanks, no end":    {key + "\n ", key, "blank lines"},
		"UTF-16, as Notepad":          {"\xff\xfe" + utf16Of(key+"\r\n", false), key, "UTF-16"},
		"UTF-16, big end":             {"\xfe\xff" + utf16Of(key+"\n", true), key, "UTF-16"},
		"UTF-16 without a mark":       {utf16Of(key+"\n", false), key, "UTF-16"},
		"space behind":                {key + " \n", key + " ", "begins or ends with a space"},
		"tab behind":                  {key + "\t\r\n", key + "\t", "begins or ends with a space"},
		"space before":                {" " + key, " " + key, "begins or ends with a space"},
		"two lines":                   {key + "\n" + key + "\n", key + "\n" + key, "several lines"},
		"old Mac":                     {key + "\r", key, ""},
		"bytes":                       {"not-a-real-secret\x00\x01", "not-a-real-secret\x00\x01", "no text"},
		"another encoding":            {"not-a-real-s\xe9cret", "not-a-real-s\xe9cret", "no text"},
		"another script":              {"nicht-ein-echter-Schlüssel", "nicht-ein-echter-Schlüssel", "beyond ASCII"},
		"two byte order marks":        {"\ufeff\ufeff" + key, key, "byte order mark"},
		"a mark behind":               {key + "\ufeff\n", key + "\ufeff", "nobody sees (U+FEFF)"},
		"a space of no width":         {"\u200b" + key, "\u200b" + key, "nobody sees (U+200B)"},
		"a space of a word processor": {key + "\u00a0\n", key + "\u00a0", "nobody sees (U+00A0)"},
		"a line end of Unicode":       {key + "\u2028", key + "\u2028", "nobody sees (U+2028)"},
		"a line end of EBCDIC":        {key + "\u0085\n", key + "\u0085", "nobody sees (U+0085)"},
		"the end of file of DOS":      {key + "\x1a", key + "\x1a", "no text"},
		"a form feed":                 {key + "\f\n", key + "\f", "begins or ends with a space"},
		"quotes":                      {`"` + key + `"`, `"` + key + `"`, "is in quotes"},
		"an apostrophe each":          {"'" + key + "'\n", "'" + key + "'", "is in quotes"},
		"quotes of a word processor":  {"“" + key + "”", "“" + key + "”", "is in quotes"},
		"a quote alone":               {`"` + key, `"` + key, ""},
		"ipsec.secrets":               {`192.0.2.1 198.51.100.1 : PSK "` + key + "\"\n", `192.0.2.1 198.51.100.1 : PSK "` + key + `"`, "ipsec.secrets"},
		"a setting":                   {"PSK = " + key, "PSK = " + key, "setting of another program"},
		"a setting of YAML":           {"psk: " + key, "psk: " + key, "setting of another program"},
		"a word that begins so":       {"keyhole-" + key, "keyhole-" + key, ""},
		"base64 of strongSwan":        {"0sbm90LWEtcmVhbC1z", "0sbm90LWEtcmVhbC1z", "0x or 0s"},
		"hex of strongSwan":           {"0x6e6f742d612d7265616c", "0x6e6f742d612d7265616c", "0x or 0s"},
	} {
		c, ps := parseText(files{"k": tt.data}.read, "f", []byte(lab("", "psk_file: k")))
		if c == nil {
			t.Errorf("%s: refused:\n%s", name, lines(ps))
			continue
		}
		if got := c.Connections[0].Tunnels[0].PSK; string(got) != tt.key {
			t.Errorf("%s: got %q", name, []byte(got))
		}
		if s := lines(ps); strings.Contains(s, ".psk_file.doubtful") != (tt.warns != "") || !strings.Contains(s, tt.warns) || strings.Contains(s, "real-s") {
			t.Errorf("%s: got\n%s", name, s)
		}
	}
	for _, data := range []string{"\n\n", "\ufeff\n", "\xff\xfe\r\x00\n\x00", "\r\n \r\n"} {
		if c, ps := parseText(files{"k": data}.read, "f", []byte(lab("", "psk_file: k"))); c != nil || !strings.Contains(lines(ps), "not be empty") {
			t.Errorf("%q: got\n%s", data, lines(ps))
		}
	}
	if _, ps := parseText(nil, "f", []byte(lab(`psk: "not-a-real-secret "`, ""))); !strings.Contains(lines(ps), "vpngw.psk.doubtful") {
		t.Errorf("in the body: got\n%s", lines(ps))
	}
}
