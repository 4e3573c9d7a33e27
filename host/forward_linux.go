package host

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// filteredForward finds chains of nftables that drop forwarded packets by default and have no rule that names a device
// vpngw*. iptables makes such a chain by `-P FORWARD DROP`, and Docker does. FilterUnread tells of the kernel's older iptables.
func (h *Host) filteredForward() (out []Finding) {
	for _, family := range []uint8{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		chains, err := h.filters.nft(unix.NFT_MSG_GETCHAIN, family)
		if err != nil {
			continue
		}
		for _, c := range chains {
			hook, ok := hookOf(c)
			a := nftTexts(c, unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME)
			if !ok || hook != unix.NF_INET_FORWARD || !dropsByDefault(c) || h.namesOurs(family, a[0], a[1]) {
				continue
			}
			out = append(out, Finding{diag.Cause{Code: diag.ForwardDrop, Name: a[0] + " " + a[1], Ours: letThrough(family, a[0], a[1])}, false})
		}
	}
	return out
}

// letThrough is the command that lets packets from and to the tunnels pass a chain.
func letThrough(family uint8, table, chain string) string {
	if table == "filter" && chain == "FORWARD" {
		program := "iptables"
		if family == unix.NFPROTO_IPV6 {
			program = "ip6tables"
		}
		return fmt.Sprintf("%s -I FORWARD -i %s+ -j ACCEPT; %[1]s -I FORWARD -o %[2]s+ -j ACCEPT", program, Alias)
	}
	name := map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"}[family]
	return fmt.Sprintf(`nft insert rule %s %s %s iifname "%s*" accept; nft insert rule %[1]s %[2]s %[3]s oifname "%[4]s*" accept`, name, table, chain, Alias)
}

// dropsByDefault reports whether the policy of a chain is to drop.
func dropsByDefault(chain []byte) bool {
	for _, a := range attributes(chain, nl.SizeofNfgenmsg) {
		if a.Attr.Type&nl.NLA_TYPE_MASK == unix.NFTA_CHAIN_POLICY && len(a.Value) == 4 {
			return binary.BigEndian.Uint32(a.Value) == 0 // NF_DROP
		}
	}
	return false
}

// namesOurs reports whether a rule of a chain names a device vpngw*: the operator has dealt with it.
func (h *Host) namesOurs(family uint8, table, chain string) bool {
	rules, err := h.filters.nft(unix.NFT_MSG_GETRULE, family)
	if err != nil {
		return false
	}
	for _, r := range rules {
		if a := nftTexts(r, unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN); a[0] != table || a[1] != chain {
			continue
		}
		for _, a := range attributes(r, nl.SizeofNfgenmsg) {
			if a.Attr.Type&nl.NLA_TYPE_MASK == unix.NFTA_RULE_EXPRESSIONS && bytes.Contains(a.Value, []byte(Alias)) {
				return true
			}
		}
	}
	return false
}

// nftTexts returns the values of two text attributes.
func nftTexts(b []byte, first, second uint16) (out [2]string) {
	for _, a := range attributes(b, nl.SizeofNfgenmsg) {
		switch a.Attr.Type & nl.NLA_TYPE_MASK {
		case first:
			out[0] = string(bytes.TrimRight(a.Value, "\x00"))
		case second:
			out[1] = string(bytes.TrimRight(a.Value, "\x00"))
		}
	}
	return out
}
