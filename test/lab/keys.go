package lab

import (
	"os"
	"path/filepath"
	"strings"
)

// Decrypted reads a capture with tshark, which gets the keys that vpngw wrote
// with --insecure-keylog and checks every ICV. args are those behind -r FILE.
func (l *Lab) Decrypted(pcap, keylog string, args ...string) string {
	l.Helper()
	keys, err := os.ReadFile(keylog)
	if err != nil {
		l.Fatalf("lab: %v", err)
	}
	dir, err := os.MkdirTemp(l.Dir, "wireshark")
	if err != nil {
		l.Fatalf("lab: %v", err)
	}
	var ike, ike1, esp strings.Builder
	for line := range strings.Lines(string(keys)) {
		switch {
		case strings.HasPrefix(line, `"`):
			esp.WriteString(line)
		case strings.Count(line, ",") == 1:
			ike1.WriteString(line)
		default:
			ike.WriteString(line)
		}
	}
	for name, table := range map[string]string{"ikev1_decryption_table": ike1.String(), "ikev2_decryption_table": ike.String(), "esp_sa": esp.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(table), 0o600); err != nil {
			l.Fatalf("lab: %v", err)
		}
	}
	return l.TsharkWith(dir, pcap, append([]string{"-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"}, args...)...)
}
