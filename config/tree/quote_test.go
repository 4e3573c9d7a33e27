package tree

import "testing"

// A text that is written reads as itself, whatever it is, and as nothing else.
func TestWrittenTextsReadAsThemselves(t *testing.T) {
	for s, quoted := range map[string]bool{
		"hq": false, "a-b.c_1@x": false, "/etc/vpngw/hq.psk": false, "203.0.113.9": false, "10.10.0.0/16": false, "12ab": false,
		"": true, "7": true, "1.5": true, "1e5": true, "0x1f": true, "1_000": true, "No": true, "null": true, "y": true, "-a": true, "2001:db8::1": true, "::1": true,
		"a: b": true, "a#b": true, "a b": true, "[a]": true, "a\nb": true, "\x7f": true, "a&<b>": true, `"`: true, "北京": true, "a\\b": true, "\u0085\u2028": true,
	} {
		text := Written(s)
		if (text[0] == '"') != quoted {
			t.Errorf("%q is written as %s", s, text)
		}
		for _, file := range []string{"- " + text, "[" + text + "]", "{a: " + text + "}", text + ": 1", "{" + text + ": 1}"} {
			n, errs := Read("f", []byte(file), NewBudget())
			if len(errs) > 0 {
				t.Errorf("%q: %v", file, errs)
				continue
			}
			got := n
			if n.Kind == List {
				got = n.Items()[0]
			} else {
				for k, v := range n.Pairs() {
					if got = k; k.Text == "a" && v.Text != "1" {
						got = v
					}
				}
			}
			if got.Text != s || got.IsNull() {
				t.Errorf("%q reads as %q", file, got.Text)
			}
		}
	}
}
