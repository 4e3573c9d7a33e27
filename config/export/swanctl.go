package export

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"vpngw/config"
	"vpngw/ipsec"
)

// swanctl writes a connection as a swanctl.conf of strongSwan, 5.9 or later.
func swanctl(w *writer, c *config.Connection) {
	w.line("# Connection %s, the %v's end, for strongSwan: a file of /etc/swanctl/conf.d.", c.Name, c.Side)
	w.line("# Load it with swanctl --load-all.")
	for _, line := range wide(c) {
		w.line("# %s", line)
	}
	switch {
	case len(c.Tunnels) > 1 && c.Switching.Balance:
		w.line("# %s", w.cannot("that both tunnels carry traffic at once: charon brings both up, and the routes decide"))
	case len(c.Tunnels) > 1:
		w.line("# %s", w.cannot("the failover between the two tunnels: charon brings both up, and the routes decide"))
	}
	w.line("connections {")
	for i := range c.Tunnels {
		w.connection(&c.Tunnels[i])
	}
	w.line("}")
	w.line("secrets {")
	for i := range c.Tunnels {
		w.secret(c, &c.Tunnels[i])
	}
	w.line("}")
	w.speakers(c)
}

// wide is the advice for selectors that cover everything.
func wide(c *config.Connection) []string {
	for i := range c.Tunnels {
		for _, p := range c.Tunnels[i].EachPair() {
			if p.Local.Bits() == 0 && p.Remote.Bits() == 0 {
				return []string{
					"The selectors are everything. With kernel ESP, a policy of that kind takes all of this host's",
					"packets. Bind it to an XFRM interface: take the # from the two if_id lines, and then",
					"  ip link add ipsec1 type xfrm if_id 1 && ip link set ipsec1 up",
					"and a route for each network of the other end:  ip route add NETWORK dev ipsec1",
					"(and charon { install_routes = no } in strongswan.conf).",
				}
			}
		}
	}
	return nil
}

// connection writes a tunnel as a section of connections.
func (w *writer) connection(t *config.Tunnel) {
	w.called("  ", t.Name)
	w.line("  %s {", section(t.Name))
	w.line("    version = %d", t.IKEVersion)
	if t.Aggressive {
		w.line("    aggressive = yes")
		if t.Start == config.StartPassive {
			w.line("    # To answer it, charon needs  i_dont_care_about_security_and_use_aggressive_mode_psk = yes")
		}
	}
	if t.Local.Address.IsValid() {
		w.line("    local_addrs = %v", t.Local.Address)
	}
	switch {
	case t.Remote.Host != "":
		w.line("    remote_addrs = %s # looked up by charon", t.Remote.Host)
	case t.Remote.Address.IsValid():
		w.line("    remote_addrs = %v", t.Remote.Address)
	case t.Remote.Any:
		w.line("    remote_addrs = %%any # whoever proves the identity")
	default:
		w.line("    remote_addrs = %%any")
	}
	if p := t.Remote.Port; p != 0 && p != 500 {
		w.line("    remote_port = %d\n    local_port = 4500 # from where charon sends the non-ESP marker", p)
	}
	w.line("    proposals = %s", swanctlProposals(t.IKEProposals))
	w.line("    mobike = no")
	switch {
	case t.Encap == config.EncapAlways:
		w.line("    encap = yes # as from behind a NAT: ESP always goes in UDP")
	case t.Encap == config.EncapNever || !t.NATT:
		w.line("    # %s", w.cannot("that there is no NAT traversal: charon always looks for a NAT, and puts ESP in UDP where there is one"))
	}
	if t.DPD.Interval > 0 {
		w.line("    dpd_delay = %s", seconds(t.DPD.Interval))
		if t.DPD.Timeout > 0 && t.IKEVersion != 2 {
			w.line("    dpd_timeout = %s # of silence in all; IKEv1 only", seconds(t.DPD.Interval+t.DPD.Timeout))
		}
	}
	if t.IKELifetime > 0 {
		soft := t.IKELifetime * 9 / 10
		w.line("    rekey_time = %s # its end is at %s", seconds(soft), seconds(t.IKELifetime))
		w.line("    over_time = %s", seconds(t.IKELifetime-soft))
	} else {
		w.line("    rekey_time = 0")
	}
	if t.Start == config.StartActive {
		w.line("    keyingtries = 0 # for ever")
	}
	w.line("    local {\n      auth = psk\n      id = %s\n    }", swanctlID(t.Local.ID))
	w.line("    remote {\n      auth = psk\n      id = %s\n    }", swanctlID(t.Remote.ID))
	w.line("    children {")
	w.children(t)
	w.line("    }")
	w.line("  }")
}

// children writes the Child SAs: one for all subnets, or one for each pair.
func (w *writer) children(t *config.Tunnel) {
	pairs := t.EachPair()
	switch {
	case t.IKEVersion != 1 && t.Children == config.Lists, len(pairs) == 1:
		w.child(t.Name, t, joined(t.Local.Subnets), joined(t.Remote.Subnets))
	default:
		for i, p := range pairs {
			w.child(fmt.Sprintf("%s-%d", t.Name, i+1), t, p.Local.String(), p.Remote.String())
		}
	}
}

func (w *writer) child(name string, t *config.Tunnel, local, remote string) {
	w.line("      %s {", section(name))
	w.line("        local_ts = %s", local)
	w.line("        remote_ts = %s", remote)
	proposals, esn := withoutESN(t.ESPProposals)
	if esn {
		w.line("        # Either length of sequence numbers will do. Not every ESP has the long ones: add -esn to have them.")
	}
	w.line("        esp_proposals = %s", swanctlProposals(proposals))
	w.line("        mode = tunnel")
	if t.Trunc96 {
		w.line("        sha256_96 = yes")
	}
	if !t.CopyDSCP {
		w.line("        copy_dscp = no")
	}
	if t.DF == config.DFClear {
		w.line("        copy_df = no")
	}
	if t.MTU > 0 {
		w.line("        # %s", w.cannot("that packets inside the tunnel have at most %d bytes", t.MTU))
	}
	if t.Metric != config.DefaultMetric {
		w.line("        # %s", w.cannot("that the tunnel's routes have the metric %d", t.Metric))
	}
	l := t.ESPLifetime
	if l.Time > 0 {
		w.line("        life_time = %s\n        rekey_time = %s", seconds(l.Time), seconds(l.Time*9/10))
	} else {
		w.line("        life_time = 0\n        rekey_time = 0")
	}
	if l.Bytes > 0 {
		w.line("        life_bytes = %d\n        rekey_bytes = %d", l.Bytes, soft(l.Bytes))
	}
	if l.Packets > 0 {
		w.line("        life_packets = %d\n        rekey_packets = %d", l.Packets, soft(l.Packets))
	}
	switch t.Start {
	case config.StartActive:
		w.line("        start_action = start # with kernel ESP, trap|start holds packets back while the tunnel is down")
		w.line("        close_action = start")
	case config.StartOnTraffic:
		w.line("        start_action = trap # with kernel ESP; kernel-libipsec waits for the other end")
		w.line("        close_action = trap")
	default:
		w.line("        start_action = none # the other end begins; with kernel ESP, trap lets this host's packets begin too")
		w.line("        close_action = none")
	}
	if t.DPD.Clear {
		w.line("        dpd_action = clear")
	} else if t.DPD.Interval > 0 {
		w.line("        dpd_action = %s", map[config.Start]string{config.StartActive: "restart", config.StartPassive: "clear", config.StartOnTraffic: "trap"}[t.Start])
	}
	if isWide(t) {
		w.line("        # if_id_in = 1\n        # if_id_out = 1")
	}
	w.line("      }")
}

func isWide(t *config.Tunnel) bool {
	return wide(&config.Connection{Tunnels: []config.Tunnel{*t}}) != nil
}

func soft(n uint64) uint64 { return n - n/10 }

// secret writes the pre-shared key, or names the file that holds it.
func (w *writer) secret(c *config.Connection, t *config.Tunnel) {
	w.line("  ike-%s {", section(t.Name))
	for i, id := range []ipsec.Identity{t.Local.ID, t.Remote.ID} {
		if swanctlID(id) != "%any" {
			w.line("    id-%d = %s", i+1, swanctlID(id))
		}
	}
	if w.Reveal && len(t.PSK) > 0 {
		w.line("    secret = %s", swanctlSecret(t.PSK))
	} else {
		w.line("    # The pre-shared key is in %s. Put it into the file that is included here, which", oneLine(w.keyFile(c, t)))
		w.line("    # nobody else may read, as a line  secret = \"...\"  (or export with --reveal).")
		w.line("    include %s.secret", section(t.Name))
	}
	w.line("  }")
}

// section turns a name into one that strongSwan takes for a section, and Libreswan for a conn: a dot separates
// strongSwan's sections, and its vici wants ASCII, so other letters become their numbers. No name of ours has a tilde or a
// plus, so that two names stay two.
func section(name string) string {
	return strings.ReplaceAll(inASCII(name, '+'), ".", "~")
}

// called is a comment with the name that a section stands for, where it is not the section's.
func (w *writer) called(indent, name string) {
	if section(name) != name {
		w.line("%s# %s", indent, oneLine(name))
	}
}

// swanctlProposals are proposals in strongSwan's names of algorithms, which are ours
// too. IKEv1 has no PRF of its own.
func swanctlProposals(ps []ipsec.Proposal) string {
	var out []string
	for _, p := range ps {
		out = append(out, proposal(p))
	}
	return strings.Join(out, ",")
}

// withoutESN leaves extended sequence numbers out of proposals that offer both kinds.
func withoutESN(ps []ipsec.Proposal) (out []ipsec.Proposal, had bool) {
	for _, p := range ps {
		if len(p.Of(ipsec.ESN)) > 1 {
			had = true
			p.Transforms = slices.DeleteFunc(slices.Clone(p.Transforms), func(t ipsec.Transform) bool { return t.Type == ipsec.ESN && t.ID == ipsec.ESNYes })
		}
		out = append(out, p)
	}
	return out, had
}

// host matches what strongSwan takes for an FQDN or an e-mail address by itself.
var host = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`) })

// swanctlID is an identity, with its type where strongSwan could take it for another type.
func swanctlID(id ipsec.Identity) string {
	hexed := "#" + hex.EncodeToString([]byte(id.Data))
	switch id.Type {
	case 0, ipsec.AnyIdentity.Type:
		return "%any"
	case ipsec.IDIPv4, ipsec.IDIPv6:
		return id.String()
	case ipsec.IDFQDN:
		if host().MatchString(id.Data) && ipsec.ParseIdentity(id.Data) == id {
			return id.Data
		}
		return `"fqdn:` + hexed + `"` // in quotes, as # begins a comment
	case ipsec.IDEmail:
		return `"email:` + hexed + `"`
	case ipsec.IDKeyID:
		return `"keyid:` + hexed + `"`
	}
	return "%any"
}

// quotable matches keys that need no escapes in quotes and that strongSwan does not take
// for hex or base64.
var quotable = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z1-9.,:;_+=/!@^*()~&-][A-Za-z0-9.,:;_+=/!@^*()~& -]*$`)
})

func swanctlSecret(s ipsec.Secret) string {
	if quotable().Match(s) {
		return `"` + string(s) + `"`
	}
	return "0x" + hex.EncodeToString(s)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }
