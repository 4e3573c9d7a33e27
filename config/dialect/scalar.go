package dialect

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vpngw/config/tree"
	"vpngw/ipsec"
)

// Type is the type of a parameter's value.
type Type interface {
	// Read makes a value of v.Node and stores it with v.Set, or notes a problem.
	Read(c *Check, v *Value)
	// Hides reports whether the text of a value can hold a secret. No message shows it then.
	Hides() bool
}

type (
	shown  struct{}
	hidden struct{}
)

func (shown) Hides() bool  { return false }
func (hidden) Hides() bool { return true }

// Text is a text of Min to Max characters (Max 0: any number). Check returns what the
// text must do and does not, or empty. An older version of the page allowed up to Older
// characters.
type Text struct {
	shown
	Min, Max int
	Older    int
	Check    func(string) string
}

func (t Text) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "a text")
	if !ok {
		return
	}
	if want := t.wrong(s); want != "" {
		c.Fail(v, Illegal, "it must %s", want)
		return
	}
	if n := utf8.RuneCountInString(s); t.Max > 0 && n > t.Max {
		c.Warn(v, Older, "%d characters are allowed by an older version of the API page only; now it is %d", n, t.Max)
	}
	v.Set(s)
}

func (t Text) wrong(s string) string {
	n := utf8.RuneCountInString(s)
	switch {
	case n < t.Min && n == 0:
		return "not be empty"
	case n < t.Min || t.Max > 0 && n > max(t.Max, t.Older):
		return fmt.Sprintf("have %d to %d characters, not %d", t.Min, t.Max, n)
	case t.Check != nil:
		return t.Check(s)
	}
	return ""
}

// Secret is a Text that becomes an ipsec.Secret and is never shown.
type Secret struct{ Text }

func (Secret) Hides() bool { return true }

func (t Secret) Read(c *Check, v *Value) {
	if t.Text.Read(c, v); v.OK() {
		v.Set(ipsec.Secret(v.Text()))
	}
}

// Enum is one of a few words.
type Enum struct {
	shown
	Words []string
	Older []string          // words of an older version of the page
	Later map[string]string // words that are recognised and not served, each with the message
}

// Switch reports whether yes and no are among the words; then true, on, false and off say the same.
func (t Enum) Switch() bool { return slices.Contains(t.Words, "yes") && slices.Contains(t.Words, "no") }

func (t Enum) Read(c *Check, v *Value) {
	if v.Node.IsNull() && slices.Contains(t.Words, v.Node.Text) { // the word NULL
		v.Set(v.Node.Text)
		return
	}
	s, ok := c.scalar(v, "one of "+strings.Join(t.Words, ", "))
	if !ok {
		return
	}
	is := func(w string) bool { return w == s || v.loose && strings.EqualFold(w, s) }
	if i := slices.IndexFunc(t.Words, is); i >= 0 {
		v.Set(t.Words[i])
		return
	}
	if i := slices.IndexFunc(t.Older, is); i >= 0 {
		c.Warn(v, Older, "%s is a value by an older version of the API page only", t.Older[i])
		v.Set(t.Older[i])
		return
	}
	if b, ok := words[strings.ToLower(s)]; ok && t.Switch() {
		v.Set(map[bool]string{true: "yes", false: "no"}[b])
		return
	}
	for _, w := range names(t.Later) {
		if is(w) {
			c.Refuse(v, Unsupported, s, t.Words, "%s", t.Later[w])
			return
		}
	}
	c.Refuse(v, Illegal, s, t.Words, "%q is none of its values", printable(s))
}

// Bool is true or false; also yes, on, no and off, with quotes or without.
type Bool struct{ shown }

func (Bool) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "true or false")
	if !ok {
		return
	}
	if b, ok := words[strings.ToLower(s)]; ok {
		v.Set(b)
		return
	}
	c.Refuse(v, WrongType, s, []string{"true", "false"}, "true or false is expected here")
}

var words = map[string]bool{"true": true, "yes": true, "on": true, "false": false, "no": false, "off": false}

// Int is a whole number from Min to Max.
type Int struct {
	shown
	Min, Max int64
}

func (t Int) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "a whole number")
	if !ok {
		return
	}
	n, ok := integer(c, v, s)
	if !ok {
		return
	}
	if n < t.Min || n > t.Max {
		c.Refuse(v, Illegal, s, []string{fmt.Sprintf("%d-%d", t.Min, t.Max)}, "it must be %d to %d", t.Min, t.Max)
		return
	}
	v.Set(n)
}

// integer reads a decimal number. A number beyond int64 becomes the nearest int64.
func integer(c *Check, v *Value, s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	digits := strings.TrimLeft(s, "+-")
	if (err != nil && n == 0) || !v.Node.Plain && !v.loose || len(digits) > 1 && digits[0] == '0' {
		c.Fail(v, WrongType, "a whole number is expected here")
		return 0, false
	}
	return n, true
}

// Duration is a time span from Min to Max: "24h", "1h30m", "90s", or a number of
// seconds. With Seconds only a number is allowed.
type Duration struct {
	shown
	Min, Max time.Duration
	Seconds  bool
}

func (t Duration) Read(c *Check, v *Value) {
	s, ok := c.scalar(v, "a time span")
	if !ok {
		return
	}
	var d time.Duration
	if _, err := strconv.ParseInt(s, 10, 64); err == nil || t.Seconds {
		n, ok := integer(c, v, s)
		if !ok {
			return
		}
		d = math.MaxInt64
		if n < int64(math.MaxInt64/time.Second) {
			d = time.Duration(max(n, -1)) * time.Second
		}
	} else if d, err = time.ParseDuration(s); err != nil {
		c.Fail(v, Malformed, "a time span is expected here, such as 24h, 90s, or a number of seconds")
		return
	}
	if d < t.Min || d > t.Max {
		low, high := t.Min.String(), t.Max.String()
		if t.Seconds {
			low, high = fmt.Sprint(int64(t.Min.Seconds())), fmt.Sprint(int64(t.Max.Seconds()))
		}
		c.Refuse(v, Illegal, s, []string{low + "-" + high}, "it must be %s to %s", low, high)
		return
	}
	v.Set(d)
}

// Or is a Scalar, or the Other type where the value is a collection.
type Or struct {
	Scalar, Other Type
}

func (t Or) Read(c *Check, v *Value) {
	if v.Node.Kind == tree.Scalar {
		t.Scalar.Read(c, v)
	} else {
		t.Other.Read(c, v)
	}
}

func (t Or) Hides() bool { return t.Scalar.Hides() }

func (t Or) Table() *Object {
	o, _ := t.Other.(*Object)
	return o
}
