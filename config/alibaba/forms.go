package alibaba

import (
	"strings"

	"vpngw/config/dialect"
	"vpngw/config/tree"
)

const (
	// downloaded is the key of DownloadVpnConnectionConfig's answer, "the configurations of the peer gateway device".
	downloaded = "VpnConnectionConfig"
	// attach is the action that makes a connection at a transit router.
	attach = "CreateVpnAttachment"
)

// mirrored are the names of DownloadVpnConnectionConfig's answer, which is seen from the customer's gateway, to those of
// the other requests and answers, which are seen from the cloud.
var mirrored = map[string]string{
	"localsubnet": "RemoteSubnet", "remotesubnet": "LocalSubnet", "localid": "RemoteId", "remoteid": "LocalId",
	"local": "CustomerGatewayId", "remote": "InternetIp",
	"localasn": "PeerAsn", "peerasn": "LocalAsn", "localbgpip": "PeerBgpIp", "peerbgpip": "LocalBgpIp",
}

// turn makes a body of DownloadVpnConnectionConfig's answer: the gateways are named by their addresses.
func turn(n *tree.Node) *tree.Node {
	bgp := map[string]*tree.Node{}
	var alone *tree.Node
	for _, b := range within(member(n, "BgpConfigs"), "BgpConfig") {
		if b.Kind == tree.Map {
			alone = b
			bgp[dialect.Member(b, "TunnelId")] = b
		}
	}
	kids := []*tree.Node{n.As("VpnConnectionId"), n.As(downloaded)} // it is an answer
	tunnels := within(member(n, "TunnelsConfig"), "TunnelConfig")
	for key, v := range n.Pairs() {
		switch strings.ToLower(key.Text) {
		case "bgpconfigs", "tunnelsconfig", "vpnconnectionid":
		case "ikeconfig":
			kids = append(kids, key.As("IkeConfig"), renamed(v))
		default:
			kids = append(kids, rename(key), v)
		}
	}
	if len(tunnels) == 0 {
		if alone != nil {
			kids = append(kids, alone.As("BgpConfig"), renamed(alone))
		}
		return n.Collect(tree.Map, kids...)
	}
	var list []*tree.Node
	for _, t := range tunnels {
		list = append(list, tunnel(t, bgp))
	}
	kids = append(kids, n.As("TunnelOptionsSpecification"), n.Collect(tree.List, list...))
	if alone != nil {
		kids = append(kids, alone.As("EnableTunnelsBgp"), alone.As("true"))
	}
	return n.Collect(tree.Map, kids...)
}

// tunnel is an entry of TunnelOptionsSpecification.
func tunnel(t *tree.Node, bgp map[string]*tree.Node) *tree.Node {
	if t.Kind != tree.Map {
		return t
	}
	var kids []*tree.Node
	for key, v := range t.Pairs() {
		switch strings.ToLower(key.Text) {
		case "ikeconfig":
			kids = append(kids, key.As("TunnelIkeConfig"), renamed(v))
		case "ipsecconfig":
			kids = append(kids, key.As("TunnelIpsecConfig"), v)
		default:
			kids = append(kids, rename(key), v)
		}
	}
	if b := bgp[dialect.Member(t, "TunnelId")]; b != nil {
		kids = append(kids, b.As("TunnelBgpConfig"), renamed(b))
	}
	return t.Collect(tree.Map, kids...)
}

// renamed is a mapping with mirrored names.
func renamed(n *tree.Node) *tree.Node {
	if n.Kind != tree.Map {
		return n
	}
	var kids []*tree.Node
	for key, v := range n.Pairs() {
		if !strings.EqualFold(key.Text, "TunnelId") {
			kids = append(kids, rename(key), v)
		}
	}
	return n.Collect(tree.Map, kids...)
}

func rename(key *tree.Node) *tree.Node {
	if name, ok := mirrored[strings.ToLower(key.Text)]; ok {
		return key.As(name)
	}
	return key
}

// member is the value of a mapping's key in any case, or nil.
func member(n *tree.Node, name string) *tree.Node {
	if n == nil || n.Kind != tree.Map {
		return nil
	}
	for key, v := range n.Pairs() {
		if strings.EqualFold(key.Text, name) {
			return v
		}
	}
	return nil
}

// within are the entries of a list, or of the one that a mapping holds under name.
func within(n *tree.Node, name string) []*tree.Node {
	if n == nil {
		return nil
	}
	if inner := member(n, name); inner != nil {
		n = inner
	}
	if n.Kind != tree.List {
		return nil
	}
	return n.Items()
}

const describe = ": take " + answer

// other names requests and answers of this API that are about something else than one connection, or tell too little.
func other(n *tree.Node) string {
	has := func(name string) bool { return member(n, name) != nil }
	action := dialect.Member(n, "Action")
	switch {
	case strings.HasPrefix(action, "Modify") && !has("VpnGatewayId") || action == "" && has("VpnConnectionId") && !has("VpnGatewayId") && has("RegionId"),
		has("TunnelId") && has("TunnelOptionsSpecification"):
		return "this is a request to modify a connection, which says what changes and not what it is between" + describe
	case !has("VpnGatewayId") && (action == attach || has("NetworkType") && has("RegionId")):
		return "this is a request of CreateVpnAttachment, which does not say the cloud's address" + describe + ", or add VpnGatewayId with the address"
	case has("VpnAttachments"):
		return "this is DescribeVpnAttachments' answer, which says no more of connections than their names" + describe
	case has("VpnConnections") && diagnosed(member(n, "VpnConnections")):
		return "this is DiagnoseVpnConnections' answer, which says what is wrong with connections and not what they are" + describe
	case has("CustomerGatewayId") && has("IpAddress") && !has("LocalSubnet"):
		return "this is DescribeCustomerGateway's answer: write the address and the AS number into customer_gateways, and" + strings.TrimPrefix(describe, ":") + " for the connection"
	case has("VpnGatewayId") && has("VpcId") && !has("LocalSubnet"):
		return "this is DescribeVpnGateway's answer: write the address into vpn_gateways, and" + strings.TrimPrefix(describe, ":") + " for the connection"
	}
	return ""
}

// diagnosed reports whether a list has diagnoses for entries.
func diagnosed(list *tree.Node) bool {
	return list.Kind == tree.List && list.Len() > 0 && list.Items()[0].Kind == tree.Map && member(list.Items()[0], "FailedReason") != nil
}
