package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

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
			table, chain := nftText(c, unix.NFTA_CHAIN_TABLE), nftText(c, unix.NFTA_CHAIN_NAME)
			if !ok || hook != unix.NF_INET_FORWARD || !dropsByDefault(c) || h.namesOurs(family, table, chain) {
				continue
			}
			out = append(out, Finding{diag.Cause{Code: diag.ForwardDrop, Name: table + " " + chain, Ours: letThrough(family, table, chain)}, false})
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
	policy := attribute(chain, nl.SizeofNfgenmsg, unix.NFTA_CHAIN_POLICY)
	return len(policy) == 4 && binary.BigEndian.Uint32(policy) == 0 // NF_DROP
}

// namesOurs reports whether a rule of a chain names a device vpngw*: the operator has dealt with it.
func (h *Host) namesOurs(family uint8, table, chain string) bool {
	rules, err := h.filters.nft(unix.NFT_MSG_GETRULE, family)
	return err == nil && slices.ContainsFunc(rules, func(r []byte) bool {
		return nftText(r, unix.NFTA_RULE_TABLE) == table && nftText(r, unix.NFTA_RULE_CHAIN) == chain &&
			bytes.Contains(attribute(r, nl.SizeofNfgenmsg, unix.NFTA_RULE_EXPRESSIONS), []byte(Alias))
	})
}

// nftText is a text attribute of an object of nftables.
func nftText(b []byte, kind uint16) string {
	return string(bytes.TrimRight(attribute(b, nl.SizeofNfgenmsg, kind), "\x00"))
}
