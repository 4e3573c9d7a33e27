package load

import (
	"fmt"
	"strings"
	"testing"

	"vpngw/diag"
)

// keyed is a configuration with a key in a body of each dialect.
var keyed = map[string]string{
	"native": lab("\n      psk: %q", ""),
	"alibaba": `version: 1
connections:
  - alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: 10.10.0.0/16, RemoteSubnet: 192.168.3.0/24, IkeConfig: {Psk: %q}}`,
	"huawei": `version: 1
connections:
  - huawei: {vgw_id: 198.51.100.1, cgw_id: 203.0.113.9, style: static, psk: %q}`,
	"tencent": `version: 1
connections:
  - tencent: {VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, VpnConnectionName: x, RouteType: StaticRoute, PreShareKey: %q}`,
}

func weakKey(ps diag.Problems) *diag.Problem {
	for i, p := range ps {
		if strings.HasSuffix(p.Code, ".weak") && strings.Contains(p.Message, "less than 80 bits") {
			return &ps[i]
		}
	}
	return nil
}

func TestKeysThatCanBeGuessedAreAWarning(t *testing.T) {
	for key, weak := range map[string]bool{
		"x":                         true,
		"Secret-1":                  true,
		"123456789012345678901234":  true,  // 24 digits: 79.7 bits
		"1234567890123456789012345": false, // 83 bits
		"0123456789abcdef012":       true,  // 19 hexadecimal digits: 76 bits
		"0123456789abcdef0123":      false, // 80 bits
		"ABCDEF0123456789ABC":       true,
		"correcthorsebatter":        false, // 18 letters: 84.6 bits
		"correcthorsebatte":         true,  // 79.9 bits
		"4Hx9pQ2mZr7Lw3Tk":          false, // as a cloud makes one
		"4Hx9pQ2mZr7Lw":             true,  // 77.4 bits
		"schlüssel-ö":               false, // 13 bytes of 3 classes
	} {
		_, ps := parseText(nil, "f", []byte(fmt.Sprintf(keyed["native"], key)))
		if p := weakKey(ps); (p != nil) != weak {
			t.Errorf("%q: got\n%s", key, lines(ps))
		} else if weak && (p.Severity != diag.Warning || p.Refused || p.Code != "vpngw.psk.weak" || strings.Contains(p.String(), key)) {
			t.Errorf("%q: got %v", key, p)
		}
		_, ps = parseText(files{"k": key + "\n"}.read, "f", []byte(lab("", "psk_file: k")))
		if p := weakKey(ps); (p != nil) != weak {
			t.Errorf("%q in a file: got\n%s", key, lines(ps))
		} else if weak && p.Code != "vpngw.psk_file.weak" {
			t.Errorf("%q in a file: got %v", key, p)
		}
	}
}

// The warning says what the cloud takes.
func TestAWeakKeyIsToldWithTheCloudsLimits(t *testing.T) {
	for name, want := range map[string]string{
		"native": "at both ends", "alibaba": "Alibaba takes 1 to 100 characters", "huawei": "Huawei takes 8 to 128 characters", "tencent": "Tencent's page gives no limit",
	} {
		_, ps := parseText(nil, "f", []byte(fmt.Sprintf(keyed[name], "Secret-1")))
		if p := weakKey(ps); p == nil || !strings.Contains(p.Message, want) {
			t.Errorf("%s: got\n%s", name, lines(ps))
		}
	}
}
