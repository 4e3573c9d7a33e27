package lab

import (
	"encoding/json"
	"fmt"
	"strings"
)

// AlibabaBody is a CreateVpnConnection request of Alibaba Cloud. The lab gives
// it to vpngw, and configures strongSwan as the cloud's end from it.
type AlibabaBody struct {
	RegionID           string `json:"RegionId"`
	VPNGatewayID       string `json:"VpnGatewayId"`
	CustomerGatewayID  string `json:"CustomerGatewayId"`
	Name               string
	LocalSubnet        string // the cloud's; a comma list
	RemoteSubnet       string // the customer's; a comma list
	EffectImmediately  bool
	EnableDpd          bool
	EnableNatTraversal bool
	IkeConfig          string // JSON in a string
	IpsecConfig        string // JSON in a string
	HealthCheckConfig  string `json:",omitempty"` // JSON in a string
	BgpConfig          string `json:",omitempty"` // JSON in a string
}

// AlibabaIke is AlibabaBody's IkeConfig.
type AlibabaIke struct {
	Psk         string `json:",omitempty"`
	IkeVersion  string
	IkeMode     string `json:",omitempty"`
	IkeEncAlg   string
	IkeAuthAlg  string
	IkePfs      string
	IkeLifetime int
	LocalID     string `json:"LocalId,omitempty"`  // the cloud's
	RemoteID    string `json:"RemoteId,omitempty"` // the customer's
}

// AlibabaIpsec is AlibabaBody's IpsecConfig.
type AlibabaIpsec struct {
	IpsecEncAlg   string
	IpsecAuthAlg  string
	IpsecPfs      string // "disabled" or a group
	IpsecLifetime int
}

// Strings puts the two parts into the body as JSON strings, as the API does.
func (b AlibabaBody) Strings(ike AlibabaIke, ipsec AlibabaIpsec) AlibabaBody {
	for to, from := range map[*string]any{&b.IkeConfig: ike, &b.IpsecConfig: ipsec} {
		text, err := json.Marshal(from)
		if err != nil {
			panic(err) // strings and numbers only
		}
		*to = string(text)
	}
	return b
}

// Parts decodes the two parts that are strings in the body.
func (b AlibabaBody) Parts() (ike AlibabaIke, ipsec AlibabaIpsec, err error) {
	if err = json.Unmarshal([]byte(b.IkeConfig), &ike); err == nil {
		err = json.Unmarshal([]byte(b.IpsecConfig), &ipsec)
	}
	return ike, ipsec, err
}

// Cloud configures strongSwan as the cloud's side of the requested connection,
// which only responds.
func (c *Charon) Cloud(b AlibabaBody, cloud, customer string) Conn {
	c.ns.lab.Helper()
	ike, ipsec, err := b.Parts()
	if err != nil {
		c.ns.lab.Fatalf("lab: the body: %v", err)
	}
	localID, remoteID := ike.LocalID, ike.RemoteID
	if localID == "" {
		localID = cloud
	}
	if remoteID == "" {
		remoteID = customer
	}
	esp := strongswanCipher[ipsec.IpsecEncAlg] + "-" + ipsec.IpsecAuthAlg
	if ipsec.IpsecPfs != "disabled" {
		esp += "-" + strongswanGroup[ipsec.IpsecPfs]
	}
	conn := Conn{
		Name: b.Name, Version: strings.TrimPrefix(ike.IkeVersion, "ikev"),
		LocalAddrs: []string{cloud}, RemoteAddrs: []string{"%any"},
		Proposals: []string{strongswanCipher[ike.IkeEncAlg] + "-" + ike.IkeAuthAlg + "-" + strongswanGroup[ike.IkePfs]},
		RekeyTime: fmt.Sprint(ike.IkeLifetime, "s"), Mobike: "no",
		Local: &Auth{Auth: "psk", ID: localID}, Remote: &Auth{Auth: "psk", ID: remoteID},
		Children: map[string]Child{b.Name: {
			LocalTS: strings.Split(b.LocalSubnet, ","), RemoteTS: strings.Split(b.RemoteSubnet, ","),
			ESPProposals: []string{esp}, RekeyTime: fmt.Sprint(ipsec.IpsecLifetime, "s"),
		}},
	}
	if b.EnableDpd {
		conn.DPDDelay = "10s"
	}
	c.PSK(ike.Psk, localID, remoteID)
	c.Load(conn)
	return conn
}

var strongswanCipher = map[string]string{"aes": "aes128", "aes192": "aes192", "aes256": "aes256", "des": "des", "3des": "3des"}

var strongswanGroup = map[string]string{"group1": "modp768", "group2": "modp1024", "group5": "modp1536", "group14": "modp2048", "group24": "modp2048s256"}
