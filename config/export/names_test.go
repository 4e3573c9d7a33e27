package export

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"vpngw/config"
)

// Two names are two in every format and keep their letters.
func TestNamesStayTwo(t *testing.T) {
	names := []string{"北京", "上海", "a.b", "a_b", "a-b", "a_dot_b", "Ünïc.1", "दिल्ली"}
	for _, format := range Formats() {
		seen := map[string]string{}
		for _, name := range names {
			c := one(loaded(t, fmt.Sprintf(`{version: 1, connections: [{name: %s, native: {psk: not-a-real-secret, local: {address: 192.0.2.1, subnets: [10.0.0.0/8], asn: 65001},
    remote: {address: 198.51.100.7, subnets: [172.16.0.0/12], asn: 65002}, inside: {local: 169.254.11.2/30, remote: 169.254.11.1}, bgp: {}}}]}`, name)))
			text := Write(c, Options{Format: format, Side: config.Customer}).Text
			var lines []string
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "# Connection") && !strings.HasPrefix(line, "# The pre-shared key") {
					lines = append(lines, strings.TrimPrefix(line, "#   "))
				}
			}
			text = strings.Join(lines, "\n")
			// What is left of a text without the words that all have in common.
			for _, made := range regexp.MustCompile(`(?m)^(?:conn |name: |"?VpnConnectionName"?: |Name: |protocol bgp |route-map )(.*)$|^([^ ={}\n]+) \{$`).FindAllStringSubmatch(text, -1) {
				id := made[1] + made[2]
				if made[2] != "" && regexp.MustCompile(`^(connections|secrets|local|remote|children|ipv4)$`).MatchString(made[2]) {
					continue
				}
				key := strings.Fields(made[0])[0] + id
				if made[2] != "" {
					key = "section " + id
				}
				if other, ok := seen[key]; ok && other != name {
					t.Errorf("%s: %s and %s are both %s", format, other, name, id)
				}
				seen[key] = name
			}
			if r := []rune(name)[0]; !strings.ContainsRune(text, r) {
				t.Errorf("%s: %s has lost its letters:\n%s", format, name, text)
			}
		}
		if len(seen) < len(names) {
			t.Errorf("%s: only %d names were found", format, len(seen))
		}
	}
}
