package lab

import (
	"fmt"
	"strings"
	"time"
)

// Rule is one nftables rule with a counter.
type Rule struct {
	ns    *Namespace
	table string
}

// Filter adds a rule to the namespace, on the hook named ("input", "output",
// "forward", "prerouting", "postrouting"; family inet). An empty verdict only
// counts. It may be called from any goroutine.
//
//	lossy := n.Filter("forward", "udp dport 4500 numgen random mod 100 < 5", "drop")
func (n *Namespace) Filter(hook, match, verdict string) *Rule {
	n.lab.Helper()
	r := &Rule{n, fmt.Sprintf("lab%d", n.number())}
	n.nft(fmt.Sprintf("table inet %s {\n counter k { }\n chain c {\n type filter hook %s priority 0;\n %s counter name k %s\n }\n}", r.table, hook, match, verdict))
	return r
}

// Packets returns the number of packets that matched.
func (r *Rule) Packets() int {
	r.ns.lab.Helper()
	out := r.ns.Run("nft", "list", "counter", "inet", r.table, "k")
	var packets int
	if _, after, ok := strings.Cut(out, "packets "); ok {
		fmt.Sscan(after, &packets)
	}
	return packets
}

// Remove removes the rule.
func (r *Rule) Remove() { r.ns.nft("delete table inet " + r.table) }

// Masquerade makes the namespace a NAT router for IPv4: packets that leave by the
// device get its address, and ports from the range given ("40000-40099"; empty keeps
// them where it can). Calling it again with another range moves every flow to a new
// port, as a NAT that rebooted does.
func (n *Namespace) Masquerade(device, ports string) {
	n.lab.Helper()
	rule := fmt.Sprintf("oifname %q masquerade", device)
	if ports != "" {
		rule = fmt.Sprintf("oifname %q meta l4proto udp masquerade to :%s\n %s", device, ports, rule)
	}
	n.nft("table ip nat { }\ndelete table ip nat\n" +
		"table ip nat { chain post {\n type nat hook postrouting priority srcnat;\n " + rule + "\n }\n}")
	n.Run("conntrack", "-F")
}

// Forward makes a NAT router forward the IKE and NAT-T packets that reach the
// device to a host behind it, as the port forwarding of a cloud or an office
// does.
func (n *Namespace) Forward(device, to string) {
	n.lab.Helper()
	n.nft(fmt.Sprintf("table ip forward { chain pre {\n type nat hook prerouting priority dstnat;\n iifname %q udp dport { 500, 4500 } dnat to %s\n }\n}", device, to))
}

func (n *Namespace) nft(script string) {
	n.lab.Helper()
	if out, err := n.feed(script+"\n", time.Minute, "nft", "-f", "-"); err != nil {
		n.lab.Fatalf("%s: nft: %v\n%s\n%s", n.role, err, script, out)
	}
}
