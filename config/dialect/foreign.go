package dialect

import (
	"regexp"
	"strings"
	"sync"

	"vpngw/config/tree"
)

// take is what to take in the place of a text that is something else.
const take = "take the cloud's CreateVpnConnection request, or its answer that describes the connection (DescribeVpnConnection, ShowVpnConnection, DescribeVpnConnections)"

// foreigner is a text that is no configuration of vpngw and no body, by how a line of it begins.
type foreigner struct {
	line *regexp.Regexp
	what string
}

// foreigners are made when the first text is looked at: most commands look at none.
var foreigners = sync.OnceValue(func() []foreigner {
	return []foreigner{
		{regexp.MustCompile(`^(connections|secrets|authorities|pools)[ \t]*\{`), "this is a swanctl.conf of strongSwan: write the connection as native, as docs/migration.md shows, or " + take},
		{regexp.MustCompile(`^(config[ \t]+setup|conn[ \t]+\S+|ca[ \t]+\S+|version[ \t]+2(\.0)?)[ \t]*$`), "this is an ipsec.conf of strongSwan or Libreswan: write the connection as native, as docs/migration.md shows, or " + take},
		{regexp.MustCompile(`^[^{}"=]*:[ \t]*(PSK|RSA|XAUTH|EAP|ECDSA)[ \t]+\S`), "this is an ipsec.secrets of strongSwan or Libreswan: write the key alone into a file, and name that in psk_file"},
		{regexp.MustCompile(`^(resource|data|provider|module|variable|output)[ \t]+"[^"]*"([ \t]+"[^"]*")?[ \t]*\{|^(terraform|locals)[ \t]*\{`), "this is a template of Terraform: " + take},
		{regexp.MustCompile(`^(crypto[ \t]+(isakmp|ikev[12]|ipsec|map)|set[ \t]+(security|vpn)[ \t]+(ike|ipsec)|config[ \t]+vpn[ \t]+ipsec|ike[ \t]+(proposal|peer|keychain|local-name)[ \t]|ipsec[ \t]+(proposal|policy)[ \t]|/ip[ /]+ipsec\b)`), "this is the configuration of a router or firewall: " + take},
		{regexp.MustCompile(`^ROSTemplateFormatVersion[ \t]*:`), "this is a template of Alibaba's ROS: " + take},
		{regexp.MustCompile(`^-[ \t]+hosts:`), playbook},
		{regexp.MustCompile(`^apiVersion:[ \t]*\S`), object},
		{regexp.MustCompile(`^runtime:[ \t]*\S`), pulumi},
		{regexp.MustCompile(`^(services:|version:[ \t]*['"]?[23](\.\d+)?['"]?)$`), compose},
		{regexp.MustCompile(`^\[(Interface|Peer)\][ \t]*$`), "this is a configuration of WireGuard, which is not IPsec: " + take},
		{regexp.MustCompile(`^(client|dev[ \t]+tun\S*|proto[ \t]+(udp|tcp)\S*)$`), "this is a configuration of OpenVPN, which is not IPsec: " + take},
		{regexp.MustCompile(`^(?i:<!doctype[ \t]+html|<html|<head)`), "this is a page of the web: " + take},
		{regexp.MustCompile(`^(%PDF-|PK\x03\x04|\xd0\xcf\x11\xe0)`), "this is a document (PDF, Office or ZIP), not a text: " + take},
		{regexp.MustCompile(`^(sudo[ \t]+)?(aliyun|hcloud|tccli|curl|wget|openstack|aws|gcloud)[ \t]+\S`), "this is a command line, not what it sends: " + take},
	}
})

// labels are words of the clouds' consoles, which no body has for keys.
var labels = []string{
	"VPN网关", "VPN 网关", "用户网关", "对端网关", "预共享密钥", "本端网段", "对端网段", "本端子网", "对端子网", "IPsec连接名称", "IPsec 连接名称", "立即生效", "加密算法", "认证算法", "协商模式", "路由模式", "通道名称", "DPD检测",
	"VPN Gateway", "Customer Gateway", "Pre-Shared Key", "Pre-shared Key", "Local Network", "Remote Network", "Local Subnet", "Peer Subnet", "Customer Subnet", "Routing Mode", "Encryption Algorithm", "Authentication Algorithm", "Negotiation Mode", "Effective Immediately", "Interface Assignment", "VPN Type",
}

const (
	playbook = "this is a playbook of Ansible: " + take
	object   = "this is an object of Kubernetes: " + take
	pulumi   = "this is a program of Pulumi: " + take
	compose  = "this is a Compose file: " + take
)

const form = "this is the text of a console's page, not a request: " + take

// Foreign names what a text is that is neither a configuration nor a request, and says what to take in its place, in one
// sentence; empty: it may be one.
func Foreign(text string) string {
	found := map[string]bool{}
	first := true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
		if line == "" || line[0] == '#' || line[0] == ';' || line[0] == '!' || strings.HasPrefix(line, "//") {
			continue
		}
		if first {
			for _, f := range foreigners() {
				if f.line.MatchString(line) {
					return f.what
				}
			}
			first = line == "---"
		}
		for _, l := range labels {
			if rest, ok := strings.CutPrefix(line, l); ok && (rest == "" || strings.ContainsAny(rest[:1], " \t:") || strings.HasPrefix(rest, "：")) {
				found[l] = true
			}
		}
		if len(found) >= 3 {
			return form
		}
	}
	return ""
}

// ForeignError is why a file is not read: it is something else altogether.
type ForeignError struct{ Says string }

func (e *ForeignError) Error() string { return e.Says }

// ForeignKeys is Foreign for a mapping, such as a template in JSON or YAML.
func ForeignKeys(n *tree.Node) string {
	if n != nil && n.Kind == tree.List && n.Len() > 0 && n.Items()[0].Kind == tree.Map && Member(n.Items()[0], "hosts") != "" {
		return playbook
	}
	if n == nil || n.Kind != tree.Map {
		return ""
	}
	has := map[string]*tree.Node{}
	found := 0
	for key, v := range n.Pairs() {
		has[key.Text] = v
		for _, l := range labels {
			if key.Text == l {
				found++
			}
		}
	}
	switch {
	case found >= 3:
		return form
	case has["ROSTemplateFormatVersion"] != nil || typed(has["Resources"], "ALIYUN::"):
		return "this is a template of Alibaba's ROS: " + take
	case has["AWSTemplateFormatVersion"] != nil || typed(has["Resources"], "AWS::"):
		return "this is a template of AWS CloudFormation, which is about another cloud: " + take
	case has["terraform_version"] != nil || has["planned_values"] != nil:
		return "this is Terraform's state or plan: " + take
	case has["resource"] != nil && has["resource"].Kind == tree.Map:
		return "this is a template of Terraform: " + take
	case strings.Contains(textOf(has["$schema"]), "deploymentTemplate"):
		return "this is a template of Azure, which is about another cloud: " + take
	case has["runtime"] != nil && has["resources"] != nil:
		return pulumi
	case has["apiVersion"] != nil && has["kind"] != nil:
		return object
	case has["services"] != nil && has["services"].Kind == tree.Map:
		return compose
	case has["error_msg"] != nil, isError(has):
		return "this is an error that the cloud has answered: " + take
	case has["CustomerGatewayConfiguration"] != nil:
		return "this is DownloadCustomerGatewayConfiguration's answer, which holds a router's configuration: " + take
	}
	return ""
}

// typed reports whether one of a template's resources is of a type that begins so.
func typed(resources *tree.Node, begins string) bool {
	if resources == nil || resources.Kind != tree.Map {
		return false
	}
	for _, r := range resources.Pairs() {
		if r.Kind == tree.Map && strings.HasPrefix(Member(r, "Type"), begins) {
			return true
		}
	}
	return false
}

func textOf(n *tree.Node) string {
	if n == nil {
		return ""
	}
	return n.Text
}

// isError reports whether a mapping is how Alibaba or Tencent answers that a request has failed.
func isError(has map[string]*tree.Node) bool {
	if r := has["Response"]; r != nil && r.Kind == tree.Map {
		for key, v := range r.Pairs() {
			if key.Text == "Error" && v.Kind == tree.Map {
				return true
			}
		}
	}
	for key := range has {
		if strings.HasPrefix(key, "Vpn") {
			return false
		}
	}
	return has["Code"] != nil && has["Message"] != nil && has["RequestId"] != nil && (has["HostId"] != nil || has["Recommend"] != nil)
}
