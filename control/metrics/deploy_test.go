package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// rule is an alert.
type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	b, err := os.ReadFile("../../deploy/prometheus/vpngw.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f.Groups[0].Rules
}

// queries are those of the dashboard's panels and variables.
func queries(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../deploy/grafana/vpngw.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Definition string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			out = append(out, q.Expr)
		}
	}
	for _, v := range d.Templating.List {
		out = append(out, v.Definition)
	}
	return out
}

// Each query of the alerts and of the dashboard names metrics and labels that there are, and the dashboard shows each metric but
// those that only describe, or say when something began.
func TestQueriesNameMetricsThatThereAre(t *testing.T) {
	labels := map[string][]string{}
	for _, r := range table() {
		labels[r.name] = append(r.labels, "instance", "job")
	}
	selector := regexp.MustCompile(`(vpngw_\w+)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	shown := map[string]bool{}
	check := func(where, q string, shows bool) {
		for _, m := range selector.FindAllStringSubmatch(q, -1) {
			name := m[1]
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, part); ok && labels[base] != nil {
					name = base
				}
			}
			if labels[name] == nil {
				t.Errorf("%s: there is no metric %s", where, m[1])
				continue
			}
			shown[name] = shown[name] || shows
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(labels[name], l[1]) {
					t.Errorf("%s: %s has no label %s", where, name, l[1])
				}
			}
		}
	}
	for _, r := range rules(t) {
		check(r.Alert, r.Expr, false)
	}
	for _, q := range queries(t) {
		check(q, q, true)
	}
	for _, r := range table() {
		quiet := strings.HasSuffix(r.name, "_start_time_seconds") || slices.Contains([]string{"vpngw_tunnel_child_sas", "vpngw_tunnel_health_state", "vpngw_tunnel_bfd_discarded_packets_total"}, r.name)
		if shown[r.name] == quiet {
			t.Errorf("the dashboard shows %s: %v", r.name, shown[r.name])
		}
	}
}

// Each alert has a severity, a sentence and a section of docs/runbooks.md, and each section is an alert's.
func TestEachAlertHasItsRunbook(t *testing.T) {
	b, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]string{} // the section's text, by its anchor
	for _, section := range strings.Split(string(b), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		anchors[strings.ReplaceAll(strings.ToLower(title), " ", "-")] = text
	}
	all := rules(t)
	for _, r := range all {
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "docs/runbooks.md#")
		if text := anchors[anchor]; !ok || !strings.Contains(text, "`"+r.Alert+"`") {
			t.Errorf("%s: no section %q of the runbooks is about it", r.Alert, r.Annotations["runbook_url"])
		}
		delete(anchors, anchor)
		if r.Annotations["summary"] == "" || !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
			t.Errorf("%s: %v %v", r.Alert, r.Annotations, r.Labels)
		}
	}
	for a := range anchors {
		t.Errorf("no alert leads to the section %s", a)
	}
	if len(all) < 15 {
		t.Errorf("%d alerts", len(all))
	}
}
