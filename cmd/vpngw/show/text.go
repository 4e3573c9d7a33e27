// Package show writes what the daemon tells as text that fits a terminal: a line for each tunnel, and everything about
// one. It reads no clock and asks no terminal. It does without lipgloss, which runs "tmux info" and reads terminfo when a
// program that has it starts in a terminal, whatever the command.
package show

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// Width is how many columns a text has where no terminal says it.
const Width = 100

// Plain replaces unprintable characters, so that a text from the peer can't move the cursor.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Ago is a duration in its two largest units.
func Ago(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	switch {
	case d >= 100*24*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

// Bytes is a number of bytes in three digits.
func Bytes(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	return short(float64(n), " ") + "B"
}

// short is a number in three digits, with the prefix of its unit behind a gap.
func short(f float64, gap string) string {
	unit := 0
	for ; f >= 999.5 && unit < 6; unit++ {
		f /= 1000
	}
	if unit == 0 {
		return fmt.Sprintf("%.0f%s", f, gap)
	}
	return fmt.Sprintf("%.3g%s%c", f, gap, " kMGTPE"[unit])
}

// Count is a number of things.
func Count[N int | uint64](n N, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "x"):
		return fmt.Sprintf("%d %ses", n, what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// times is how often something happened.
func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// Fit is a text in exactly so many columns: filled up with spaces, or cut, which "…" shows. Wide characters count twice.
func Fit(s string, columns int) string {
	s = Cut(s, columns)
	return s + strings.Repeat(" ", max(columns-ansi.StringWidth(s), 0))
}

// Cut is a text in at most so many columns.
func Cut(s string, columns int) string { return ansi.Truncate(s, max(columns, 0), "…") }

// CutMiddle is a text in at most so many columns, without a part in its middle.
func CutMiddle(s string, columns int) string {
	over := Columns(s) - columns
	if over <= 0 || columns < 3 {
		return Cut(s, columns)
	}
	begin := Cut(s, columns-(columns-1)/2) // with the "…"
	for ; ; over++ {
		if end := ansi.TruncateLeft(s, Columns(begin)+over, ""); Columns(begin+end) <= columns {
			return begin + end // a wide character may have been cut in two
		}
	}
}

// Columns is how many columns a text takes.
func Columns(s string) int { return ansi.StringWidth(s) }

// Wrap breaks a text into lines of at most so many columns, between words where that is possible. All but the first
// are indented.
func Wrap(s string, columns, indent int) []string {
	columns = max(columns, indent+20)
	if Columns(s) <= columns {
		return []string{s}
	}
	first, _, _ := strings.Cut(ansi.Wrap(s, columns, ""), "\n")
	rest := strings.TrimSpace(s[min(len(first), len(s)):])
	lines := []string{strings.TrimRight(first, " ")}
	for line := range strings.SplitSeq(ansi.Wrap(rest, columns-indent, ""), "\n") {
		lines = append(lines, strings.Repeat(" ", indent)+strings.TrimRight(line, " "))
	}
	return lines
}

// Rate is a number of bits in a second, in three digits, with a gap before the prefix of the unit.
func Rate(bits float64, gap string) string { return short(bits, gap) }

// Bold, Alarm and Chosen are styles; only Alarm has a colour.
func Bold(s string) string   { return ansi.NewStyle().Bold().Styled(s) }
func Alarm(s string) string  { return ansi.NewStyle().ForegroundColor(ansi.Red).Styled(s) }
func Chosen(s string) string { return ansi.NewStyle().Reverse(true).Styled(s) }
