package load

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const secretFile = `version: 1
connections:
  - native: {local: {address: 203.0.113.9, subnets: [192.168.3.0/24]}, remote: {address: 198.51.100.9, subnets: [10.20.0.0/16]},
             psk: not-a-real-secret}
  - native:
      local: {address: 203.0.113.9, subnets: [192.168.4.0/24]}
      remote: {address: 198.51.100.9, subnets: [10.21.0.0/16]}
      psk: not-a-real-secret
      inside: {local: 169.254.9.2/30, remote: 169.254.9.1}
    bgp: {announce: [connected], export: [10.0.0.0/8], key: [not-a-real-secret], hold: 9s}
  - alibaba: {RegionId: cn-shanghai, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: 10.10.0.0/16,
              RemoteSubnet: 192.168.3.0/24, IkeConfig: '{"IkeVersion":"ikev2","Psk":"not-a-real-secret","IkePfs":"group14"}'}
  - alibaba: '{"RegionId":"cn-shanghai","VpnGatewayId":"198.51.100.2","CustomerGatewayId":"203.0.113.9","LocalSubnet":"10.10.0.0/16",
      "RemoteSubnet":"192.168.3.0/24","IkeConfig":"{\"IkeVersion\":\"ikev2\",\"Psk\":\"not-a-real-secret\"}"}'
  - alibaba: 'Action=CreateVpnConnection&Signature=not-a-real-secret&RegionId=x&VpnGatewayId=198.51.100.3&CustomerGatewayId=203.0.113.9&LocalSubnet=10.10.0.0/16&RemoteSubnet=192.168.3.0/24&IkeConfig.Psk=not-a-real-secret'
  - alibaba: |
      POST / HTTP/1.1
      Authorization: not-a-real-secret

      {"RegionId":"x","VpnGatewayId":"198.51.100.4","CustomerGatewayId":"203.0.113.9","LocalSubnet":"10.10.0.0/16",
       "RemoteSubnet":"192.168.3.0/24","IkeConfig":{"Psk":"not-a-real-secret"}}
`

// No typing error around the key brings it into a message.
func TestNoProblemShowsASecret(t *testing.T) {
	if c, ps := parseText(nil, "f", []byte(secretFile)); c == nil {
		t.Fatalf("the file itself is refused:\n%s", lines(ps))
	}
	show := func(what, text string) {
		c, ps := parseText(nil, "f", []byte(text))
		var out bytes.Buffer
		ps.Write(&out)
		ps.WriteJSON(&out)
		if c != nil {
			for _, conn := range c.Connections {
				fmt.Fprintf(&out, "%v %+v %#v", conn, conn.Tunnels, conn.Tunnels)
			}
		}
		if strings.Contains(out.String(), "real-secret") {
			t.Errorf("%s: %s", what, out.String())
		}
	}
	for i := range secretFile {
		show(fmt.Sprintf("without byte %d", i), secretFile[:i]+secretFile[i+1:])
		for _, c := range "x'\"{:,\n#" {
			show(fmt.Sprintf("%q at byte %d", c, i), secretFile[:i]+string(c)+secretFile[i+1:])
		}
	}
	for _, line := range strings.SplitAfter(secretFile, "\n") {
		show("without "+line, strings.Replace(secretFile, line, "", 1))
	}
}
