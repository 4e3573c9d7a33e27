package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Two runs of two packages: in each a subtest fails, in the second a package fails without a test.
func TestTallyCountsWhatFailedAndNotItsParents(t *testing.T) {
	runs := []string{
		`+ go test -json
{"Action":"run","Package":"vpngw/test","Test":"TestA"}
{"Action":"output","Package":"vpngw/test","Test":"TestA/one","Output":"what was seen\n"}
{"Action":"fail","Package":"vpngw/test","Test":"TestA/one"}
{"Action":"pass","Package":"vpngw/test","Test":"TestA/two"}
{"Action":"fail","Package":"vpngw/test","Test":"TestA"}
{"Action":"fail","Package":"vpngw/test"}
{"Action":"pass","Package":"vpngw/ike","Test":"TestB"}
{"Action":"pass","Package":"vpngw/ike"}
`,
		`{"Action":"fail","Package":"vpngw/test","Test":"TestA/one"}
{"Action":"fail","Package":"vpngw/test","Test":"TestA"}
{"Action":"fail","Package":"vpngw/test"}
{"Action":"fail","Package":"vpngw/ike"}`,
		`{"Action":"pass","Package":"vpngw/ike","Test":"TestB"}
`,
		"make: *** no rule\n",
	}
	var sum tally
	for i, text := range runs {
		var r result
		var log strings.Builder
		r.read(strings.NewReader(text), &log)
		r.took = time.Duration(i+1) * time.Minute
		var err error
		if i != 2 {
			err = errors.New("exit status 2")
		}
		sum.add(r, err)
		if i == 0 && (log.String() != "+ go test -json\nwhat was seen\n" || r.passed != 2) {
			t.Errorf("%d passed, log %q", r.passed, log.String())
		}
	}
	want := `3 of 4 runs failed
   2  test TestA/one
   1  (no test, but the command: exit status 2)
   1  ike
a run took 1m0s to 4m0s, in the middle 3m0s
`
	if got := sum.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
