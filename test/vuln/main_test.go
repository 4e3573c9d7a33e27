package main

import (
	"strings"
	"testing"
)

const (
	config = `{"config":{"go_version":"go1.27.3","scan_level":"symbol"}} {"osv":{"id":"GO-1","summary":"one"}} {"osv":{"id":"GO-2","summary":"two"}}`
	one    = ` {"finding":{"osv":"GO-1","trace":[{"module":"a.example/m","version":"v1.2.3","package":"a.example/m/p","receiver":"*T","function":"F"},{"module":"vpngw","package":"vpngw/bgp","function":"run"}]}}`
	again  = ` {"finding":{"osv":"GO-1","trace":[{"module":"a.example/m","version":"v1.2.3","package":"a.example/m/p","function":"G"}]}}`
	two    = ` {"finding":{"osv":"GO-2","fixed_version":"v2.0.0","trace":[{"module":"b.example","version":"v1.0.0","package":"b.example","function":"F"}]}}`
	unused = ` {"finding":{"osv":"GO-2","trace":[{"module":"b.example","version":"v1.0.0","package":"b.example"}]}}`
)

func TestJudge(t *testing.T) {
	const accept = "GO-1@a.example/m@v1.2.3"
	for _, c := range []struct {
		name, in string
		accept   []string
		fails    bool
		says     string
	}{
		{"nothing is called", config + unused, nil, false, "are called: 0"},
		{"one is called", config + one, nil, true, "GO-1@a.example/m@v1.2.3: one; no version mends it\n    vpngw/bgp.run\n    a.example/m/p.T.F\n"},
		{"one is called, and mended", config + two, nil, true, "mended in v2.0.0"},
		{"one is accepted", config + one + again + unused, []string{accept}, false, "accepted, see SECURITY.md: " + accept + ": one"},
		{"one of two is accepted", config + one + two, []string{accept}, true, "GO-2@b.example@v1.0.0"},
		{"another version is accepted", config + one, []string{"GO-1@a.example/m@v1.2.2"}, true, accept + ": one"},
		{"it is there no more", config + unused, []string{accept}, true, accept + " is accepted and not found"},
		{"no answer", "", nil, true, ""},
		{"half an answer", config + one[:40], nil, true, ""},
		{"packages were looked at, and no calls", strings.Replace(config, "symbol", "package", 1), nil, true, ""},
	} {
		var out strings.Builder
		err := judge(strings.NewReader(c.in), &out, c.accept)
		if (err != nil) != c.fails || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: got %v and %q", c.name, err, out.String())
		}
	}
}
