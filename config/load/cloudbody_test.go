package load

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const cloudGateways = `vpn_gateways:
  vpn-of-a-cloud: {address: 198.51.100.1}
customer_gateways:
  customer-with-asn: {address: 203.0.113.9, asn: 65010}
`

// changed is a body with some parameters set; nil takes one out.
func changed(t *testing.T, body map[string]any, with map[string]any) map[string]any {
	t.Helper()
	var own map[string]any
	text, err := json.Marshal(with)
	if err == nil {
		err = json.Unmarshal(text, &own)
	}
	if err != nil {
		t.Fatal(err)
	}
	for path, v := range own {
		change(body, strings.Split(path, "."), v)
	}
	return body
}

// cloudFile is a file with one body of a dialect.
func cloudFile(t *testing.T, d string, body map[string]any, beside string) []byte {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, "version: 1\n%sconnections:\n  - %s: %s\n    %s\n", cloudGateways, d, text, beside)
}
