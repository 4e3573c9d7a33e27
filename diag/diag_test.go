package diag

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/diagnosis.md")

// full is a Cause with every detail.
func full(code Code) Cause {
	return Cause{
		Code: code, Peer: netip.MustParseAddrPort("198.51.100.1:500"), Addr: netip.MustParseAddr("203.0.113.9"),
		Prefix: netip.MustParsePrefix("10.10.0.0/16"), Device: "vpngw0", Name: "hq", Ours: "ours", Theirs: "theirs",
		Message: "IKE_SA_INIT", Notify: "NO_PROPOSAL_CHOSEN", Version: 2, Count: 3, After: time.Minute, Err: "no",
	}
}

func TestTableIsWhole(t *testing.T) {
	seen := map[Code]bool{}
	for _, e := range Table {
		if seen[e.Code] || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(string(e.Code)) {
			t.Errorf("%q: a code twice, or not of lower case and dashes", e.Code)
		}
		seen[e.Code] = true
		if e.Severity == "" || e.Side == "" || e.Sentence == "" {
			t.Errorf("%s: has no severity, side or sentence", e.Code)
		}
		if strings.HasSuffix(e.Sentence, ".") || strings.HasPrefix(e.Sentence, " ") {
			t.Errorf("%s: the sentence %q has a full stop, or begins with a space", e.Code, e.Sentence)
		}
		for _, name := range details(e.Sentence) {
			if _, ok := full(e.Code).detail(name); !ok && name != "hint" {
				t.Errorf("%s: the sentence has {%s}, which is no detail", e.Code, name)
			}
		}
		if s := full(e.Code).String(); strings.ContainsAny(s, "{}[]") || strings.Contains(s, "(unknown)") {
			t.Errorf("%s: got %q", e.Code, s)
		}
		if got := (Cause{Code: e.Code}).Severity(); got != e.Severity {
			t.Errorf("%s: got severity %s", e.Code, got)
		}
		if e.Side == Nowhere && e.Change != "" && e.Severity == Error {
			t.Errorf("%s: nothing is to be changed, and it names %s", e.Code, e.Change)
		}
	}
	for code := range clouds {
		if !seen[code] {
			t.Errorf("a cloud has a code for %s, which is none of ours", code)
		}
	}
}

func TestCauseComparesEveryDetail(t *testing.T) {
	typ := reflect.TypeFor[Cause]()
	a := full(PSKMismatch)
	if !a.Equal(full(PSKMismatch)) {
		t.Error("a cause does not equal itself")
	}
	for i := range typ.NumField() {
		b := full(PSKMismatch)
		if f := reflect.ValueOf(&b).Elem().Field(i); typ.Field(i).Name == "Because" {
			b = b.Since(full(NoAnswer))
		} else {
			if f.IsZero() {
				t.Errorf("%s: the test gives it no value", typ.Field(i).Name)
			}
			f.SetZero()
		}
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("two causes that differ in %s are equal", typ.Field(i).Name)
		}
	}
}

func TestSentence(t *testing.T) {
	for _, c := range []struct {
		cause Cause
		want  string
	}{
		{Cause{}, ""},
		{Cause{Code: UnknownPeer, Peer: netip.MustParseAddrPort("198.51.100.1:500")}, "no connection has a peer at 198.51.100.1"},
		{
			Cause{Code: UnknownPeer, Peer: netip.MustParseAddrPort("198.51.100.1:500"), Version: 1},
			"no connection has a peer at 198.51.100.1 that speaks IKEv1",
		},
		{
			Cause{Code: LifetimeEnded}.Since(Cause{Code: PeerDead, Peer: netip.MustParseAddrPort("198.51.100.1:500")}),
			"its lifetime ended before a rekey succeeded: the peer is dead: no answer from 198.51.100.1:500 to repeated requests",
		},
		{Cause{Code: "not-in-the-table"}, "not-in-the-table"},
	} {
		if got := c.cause.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	text, err := json.Marshal(Cause{Code: OperatorDown}.Report())
	if err != nil || string(text) != `{"why":"taken down by `+"`vpngw down`"+`","code":"operator-down"}` {
		t.Errorf("got %s, %v", text, err)
	}
}

// What a peer sends into a sentence stays a detail: braces in it are not filled in.
func TestDetailsAreNotTemplates(t *testing.T) {
	c := Cause{Code: PeerIdentity, Theirs: "{ours}[{err}]", Ours: "us"}
	if got := c.String(); !strings.Contains(got, "{ours}[{err}]") {
		t.Errorf("got %q", got)
	}
}

// TestDiagnosisPage holds docs/diagnosis.md against the table; -update writes it.
func TestDiagnosisPage(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Why a tunnel is not up\n\nWritten by `go test ./diag -run TestDiagnosisPage -update` from the one table of causes (package diag).\n\n" +
		"`vpngw status --json`, the log and events name a cause by its code, which is stable, and say it in a sentence. Words in braces stand for\n" +
		"the details of the case; a part in brackets is there when its details are known. *Who changes what* is `ours` (this host), `theirs` (the peer),\n" +
		"`either` (bring both in step), `path` (the network between) or `nothing`, with the parameter in the words of each dialect, for the customer's side.\n" +
		"The last column is what the clouds call the same thing: Alibaba's FailedReasonCode, and the reasons in Tencent's log.\n\n" +
		"| code | severity | sentence | who changes what | alibaba | huawei | tencent | the clouds' codes |\n|---|---|---|---|---|---|---|---|\n")
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, e := range Table {
		who := string(e.Side)
		if e.Change != "" {
			who += ": `" + strings.ReplaceAll(e.Change, ", ", "`, `") + "`"
		}
		row := []string{"`" + string(e.Code) + "`", string(e.Severity), e.Sentence, who}
		for _, d := range Clouds {
			row = append(row, strings.Join(e.Parameters(d), ", "))
		}
		var theirs []string
		for _, d := range Clouds {
			if c := e.CloudCodes(d); c != nil {
				theirs = append(theirs, d+": "+strings.Join(c, ", "))
			}
		}
		row = append(row, strings.Join(theirs, "; "))
		for i := range row {
			row[i] = cell(row[i])
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	const page = "../docs/diagnosis.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the table says (%v): write it with -update", page, err)
	}
}
