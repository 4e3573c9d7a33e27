package tree

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const mega = 1 << 20

// hostile are files of 1 MB that cost a careless reader far more than that.
func hostile() map[string]string {
	fill := func(s string) string { return strings.Repeat(s, mega/len(s)) }
	lines := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < mega; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	var deeper strings.Builder
	for i := 0; deeper.Len() < mega; i++ {
		deeper.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 60 {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	return map[string]string{
		"brackets":          fill("["),
		"braces":            fill("{a: "),
		"dashes":            fill("- "),
		"deeper lines":      deeper.String(),
		"brackets in JSON":  "a: '" + fill("[") + "'",
		"closed brackets":   "[" + fill("[],") + "]",
		"flow list":         "[" + fill("a,") + "]",
		"flow map":          "{" + lines("k%d: v,") + "}",
		"block list":        fill("- a\n"),
		"block map":         lines("k%d: v\n"),
		"same key":          fill("k: v\n"),
		"billion laughs":    laughs,
		"anchors":           fill("- &a b\n"),
		"aliases":           "- &a b\n" + fill("- *a\n"),
		"anchor of anchors": fill("&a "),
		"digits":            "a: " + fill("1"),
		"exponent":          "a: 1e" + fill("9"),
		"hexadecimal":       "a: 0x" + fill("f"),
		"open quote":        "a: '" + fill("b"),
		"quoted lines":      "a: \"" + fill("b\n  ") + "\"",
		"escapes":           "a: \"" + fill(`\u0041`) + "\"",
		"plain lines":       "a:\n" + fill("  b\n"),
		"literal":           "a: |\n" + fill("  b\n"),
		"folded":            "a: >\n" + fill("  b\n\n"),
		"comments":          fill("#\n"),
		"empty lines":       fill("\n"),
		"spaces":            "a:" + fill(" ") + "b",
		"documents":         fill("---\n"),
		"colons":            fill(": "),
		"not UTF-8":         fill("\xff"),
		"late bad byte":     fill("- a\n") + "\x00",
	}
}

func TestHostileMegabyteIsReadOrRefusedCheaply(t *testing.T) {
	for name, in := range hostile() {
		t.Run(name, func(t *testing.T) {
			data := []byte(in)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := cpuTime(t)
			n, errs := Read("f", data, NewBudget())
			if n != nil && n.Kind == Map && n.Len() == 1 && n.Items()[1].LooksLikeJSON() {
				n, errs = n.Items()[1].JSON(NewBudget())
			}
			took := cpuTime(t) - start
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d KB allocated: %v", took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>10, append(errs, Error{Msg: "no error"})[0])
			if took > 5*time.Second { // the bar is 1 s; slack for the race detector
				t.Errorf("took %v", took)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 64 {
				t.Errorf("allocated %d MB in all", got)
			}
			runtime.KeepAlive(n)
		})
	}
}

// cpuTime is the processor time of this process. Unlike the clock it does not count what
// other processes use meanwhile.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct{ name, in, why string }{
		{"32 MB", strings.Repeat("#\n", MaxBytes/2+1), "larger than 32 MB"},
		{"65 flow lists", strings.Repeat("[", 65) + strings.Repeat("]", 65), "deeper than 64"},
		{"65 block lists", strings.Repeat("- ", 65) + "a", "deeper than 64"},
		{"1001 marks", "- &a b\n" + strings.Repeat("- *a\n", 1000), "more than 1000 anchors and aliases"},
		{"aliases of much", "- &a [" + strings.Repeat("b, ", 4000) + "]\n" + strings.Repeat("- *a\n", 600), "stand for more"},
	} {
		if n, errs := Read("f", []byte(tt.in), NewBudget()); n != nil || !strings.Contains(errs[0].Msg, tt.why) {
			t.Errorf("%s: got %v", tt.name, errs)
		}
	}
	for _, in := range []string{
		strings.Repeat("[", 64) + strings.Repeat("]", 64),
		strings.Repeat("- ", 64) + "a",
		"- &a b\n" + strings.Repeat("- *a\n", 999),
		"a: '" + strings.Repeat("[", 100) + "'",
	} {
		if n, errs := Read("f", []byte(in), NewBudget()); n == nil {
			t.Errorf("%.20q… was refused: %v", in, errs)
		}
	}
}
