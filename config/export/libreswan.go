package export

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/ipsec"
)

// libreswan writes a connection as a configuration file of Libreswan 4.10 or later, with the
// lines for the file of secrets as comments.
func libreswan(w *writer, c *config.Connection) {
	w.line("# Connection %s, the %v's end, for Libreswan 4.10 or later: a file of /etc/ipsec.d, NAME.conf.", c.Name, c.Side)
	if slices.ContainsFunc(c.Tunnels, func(t config.Tunnel) bool { return t.IKEVersion == 1 }) {
		w.line("# Libreswan takes IKEv1 only with ikev1-policy=accept under config setup in /etc/ipsec.conf.")
	}
	switch {
	case len(c.Tunnels) > 1 && c.Switching.Balance:
		w.line("# %s", w.cannot("that both tunnels carry traffic at once"))
	case len(c.Tunnels) > 1:
		w.line("# %s", w.cannot("the failover between the two tunnels"))
	}
	for i := range c.Tunnels {
		w.conn(&c.Tunnels[i])
	}
	w.line("")
	w.line("# What follows belongs into a file of its own, /etc/ipsec.d/NAME.secrets, which nobody else may read;")
	w.line("# take the # away there.")
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		key := fmt.Sprintf("(the key in %s)", oneLine(w.keyFile(c, t)))
		if w.Reveal && len(t.PSK) > 0 {
			key = "0x" + hex.EncodeToString(t.PSK)
		}
		w.line("# %s %s : PSK %s", libreswanID(t.Local), libreswanID(t.Remote), key)
	}
	w.speakers(c)
}

// conn writes a tunnel as one conn, or as one for each pair of networks.
func (w *writer) conn(t *config.Tunnel) {
	pairs := t.EachPair()
	if len(pairs) > 1 && t.IKEVersion != 1 && t.Children == config.Lists {
		w.line("# %s", w.cannot("one Child SA for all networks: here each pair has its own"))
	}
	for i, p := range pairs {
		name := t.Name
		if len(pairs) > 1 {
			name = fmt.Sprintf("%s-%d", t.Name, i+1)
		}
		w.line("")
		w.called("", name)
		w.line("conn %s", section(name))
		w.set("auto", map[config.Start]string{config.StartActive: "start", config.StartPassive: "add", config.StartOnTraffic: "route"}[t.Start])
		w.set("authby", "secret")
		w.set("type", "tunnel")
		w.libreswanIKE(t)
		w.libreswanEnd("left", t.Local)
		w.line("    leftsubnet=%v", p.Local)
		w.libreswanEnd("right", t.Remote)
		w.line("    rightsubnet=%v", p.Remote)
		if p.Local.Bits() == 0 && p.Remote.Bits() == 0 {
			w.line("    # The networks are everything: bind them to an interface, and route into it what is to go there.")
			w.set("ipsec-interface", "yes")
		}
		w.libreswanESP(t)
	}
}

func (w *writer) set(key, value string) { w.line("    %s=%s", key, value) }

func (w *writer) libreswanEnd(side string, e config.End) {
	if e.Port != 0 && e.Port != 500 && side == "right" {
		w.set("rightikeport", strconv.Itoa(int(e.Port)))
	}
	switch {
	case e.Host != "" && side == "right":
		w.set(side, e.Host)
	case e.Address.IsValid():
		w.line("    %s=%v", side, e.Address)
	default:
		w.set(side, map[string]string{"left": "%defaultroute", "right": "%any"}[side])
	}
	if e.ID != ipsec.AnyIdentity && e.ID.Type != 0 {
		w.set(side+"id", libreswanID(e))
	}
}

// libreswanID is an identity as Libreswan writes it: a name begins with @, and anything
// else is hex.
func libreswanID(e config.End) string {
	switch e.ID.Type {
	case ipsec.IDIPv4, ipsec.IDIPv6:
		return e.ID.String()
	case ipsec.IDFQDN:
		if host().MatchString(e.ID.Data) {
			return "@" + e.ID.Data
		}
	case ipsec.IDEmail:
		if host().MatchString(strings.ReplaceAll(e.ID.Data, "@", "")) {
			return e.ID.Data
		}
	case ipsec.IDKeyID:
		return "@#0x" + hex.EncodeToString([]byte(e.ID.Data))
	}
	return "%any"
}

func (w *writer) libreswanIKE(t *config.Tunnel) {
	w.set("ikev2", map[bool]string{true: "no", false: "yes"}[t.IKEVersion == 1])
	if t.IKEVersion == 0 {
		w.line("    # %s", w.cannot("that either version of IKE will do: it is IKEv2"))
	}
	if t.Aggressive && t.IKEVersion == 1 {
		w.set("aggressive", "yes")
	}
	w.algorithms("ike", t.IKEVersion, t.IKEProposals, nil)
	w.libreswanLife("ikelifetime", t.IKELifetime, "an IKE SA")
	for _, id := range []ipsec.Identity{t.Local.ID, t.Remote.ID} {
		if id.Type != 0 && id != ipsec.AnyIdentity && libreswanID(config.End{ID: id}) == "%any" {
			w.line("    # %s", w.cannot("the identity %v", id))
		}
	}
	switch {
	case t.Encap == config.EncapAlways:
		w.set("encapsulation", "yes")
	case t.Encap == config.EncapNever, !t.NATT:
		w.set("encapsulation", "no")
	}
	if t.DPD.Interval > 0 {
		w.set("dpddelay", seconds(t.DPD.Interval))
		switch {
		case t.IKEVersion == 1:
			w.set("dpdtimeout", seconds(t.DPD.Interval+max(t.DPD.Timeout, 4*t.DPD.Interval)))
		case t.DPD.Timeout > 0: // of IKEv2 it ignores dpdtimeout
			w.set("retransmit-timeout", seconds(t.DPD.Timeout))
		}
		if t.DPD.Clear {
			w.set("dpdaction", "clear")
			return
		}
		w.set("dpdaction", map[config.Start]string{config.StartActive: "restart", config.StartPassive: "clear", config.StartOnTraffic: "hold"}[t.Start])
	}
}

func (w *writer) libreswanESP(t *config.Tunnel) {
	w.algorithms("esp", t.IKEVersion, t.ESPProposals, groupsOf(t.IKEProposals))
	if t.IKEVersion != 1 {
		w.libreswanPFS(t)
	}
	without := withoutGroup(t.ESPProposals)
	if without > 0 && without < len(t.ESPProposals) {
		w.line("    # %s", w.cannot("that PFS is left to the peer: here it is demanded"))
	}
	w.set("pfs", map[bool]string{true: "yes", false: "no"}[without < len(t.ESPProposals)])
	if t.IKEVersion != 1 {
		w.set("esn", sequenceNumbers(t.ESPProposals))
	}
	l := t.ESPLifetime
	w.libreswanLife("salifetime", l.Time, "a Child SA")
	if l.Bytes > 0 {
		w.set("ipsec-max-bytes", strconv.FormatUint(l.Bytes, 10))
	}
	if l.Packets > 0 {
		w.set("ipsec-max-packets", strconv.FormatUint(l.Packets, 10))
	}
	if t.Trunc96 {
		w.set("sha2-truncbug", "yes")
	}
	if !t.CopyDSCP {
		w.line("    # %s", w.cannot("that DSCP is not copied"))
	}
	if t.MTU > 0 {
		w.set("mtu", strconv.Itoa(t.MTU))
	}
	if t.DF == config.DFClear {
		w.set("nopmtudisc", "yes")
	}
	if t.Metric != config.DefaultMetric {
		w.set("metric", strconv.Itoa(t.Metric))
	}
}

// libreswanLife writes a lifetime, of a day at most.
func (w *writer) libreswanLife(key string, d time.Duration, of string) {
	const most = 24 * time.Hour
	switch {
	case d == 0:
		w.line("    # %s", w.cannot("%s without end", of))
	case d > most:
		w.line("    # %s", w.cannot("%s that lives %v: a day is the most", of, d))
		w.set(key, seconds(most))
	default:
		w.set(key, seconds(d))
	}
}

// withoutGroup is how many proposals have no PFS.
func withoutGroup(ps []ipsec.Proposal) int {
	n := 0
	for _, p := range ps {
		if g := p.Of(ipsec.KE); len(g) == 0 || slices.ContainsFunc(g, func(t ipsec.Transform) bool { return t.ID == 0 }) {
			n++
		}
	}
	return n
}

// sequenceNumbers is esn: what all proposals agree on, else either.
func sequenceNumbers(ps []ipsec.Proposal) string {
	word := ""
	for _, p := range ps {
		own := "no"
		if ts := p.Of(ipsec.ESN); len(ts) > 1 {
			own = "either"
		} else if len(ts) == 1 && ts[0].ID == ipsec.ESNYes {
			own = "yes"
		}
		if word != "" && own != word {
			return "either"
		}
		word = own
	}
	return word
}

// libreswanNames are Libreswan's names of algorithms. It lacks an algorithm that is
// missing here.
var libreswanNames = map[string]string{
	"aes256gcm16": "aes_gcm256", "aes192gcm16": "aes_gcm192", "aes128gcm16": "aes_gcm128", "chacha20poly1305": "chacha20_poly1305",
	"sha256": "sha2_256", "sha384": "sha2_384", "sha512": "sha2_512", "prfsha256": "sha2_256", "prfsha384": "sha2_384", "prfsha512": "sha2_512",
	"prfsha1": "sha1", "prfmd5": "md5", "x25519": "dh31", "ecp256": "dh19", "ecp384": "dh20", "ecp521": "dh21",
	"des": "", "modp768": "", "modp1024": "", "modp2048s256": "",
}

// algorithms writes proposals as CIPHERS-HASHES-GROUPS, or as CIPHERS;GROUPS where ESP has no hash: what stands behind the
// first hyphen there is one. IKEv1 knows one algorithm in each place, so a proposal becomes as many as it has choices.
// A proposal of which Libreswan has no cipher, no hash or no group is left out; without a group it takes the IKE SA's.
func (w *writer) algorithms(key string, version int, ps []ipsec.Proposal, ike []string) {
	var out []string
	for _, p := range ps {
		hashes := ipsec.Integ
		if key == "ike" && len(p.Of(ipsec.Integ)) == 0 {
			hashes = ipsec.PRF
		}
		ciphers := w.libreswanList(key, version, p.Of(ipsec.Encr))
		hash := w.libreswanList(key, version, p.Of(hashes))
		groups := w.libreswanList(key, version, p.Of(ipsec.KE))
		if len(hash) == 0 && len(p.Of(hashes)) > 0 || len(groups) == 0 && len(p.Of(ipsec.KE)) > 0 && !alike(groupsOf([]ipsec.Proposal{p}), ike) {
			continue
		}
		if version != 1 {
			ciphers, hash, groups = oneWord(ciphers), oneWord(hash), oneWord(groups)
		}
		for _, c := range ciphers {
			for _, h := range oneAtLeast(hash) {
				for _, g := range oneAtLeast(groups) {
					one := c
					if h != "" {
						one += "-" + h
					}
					if g != "" {
						one += map[bool]string{true: "-", false: ";"}[h != ""] + g
					}
					out = append(out, one)
				}
			}
		}
	}
	if len(out) == 0 {
		w.line("    # %s", w.cannot("%s=, for Libreswan has none of these proposals: take other algorithms at both ends", key))
		return
	}
	w.set(key, strings.Join(out, ","))
}

// libreswanPFS warns of a group with which the tunnel comes up, and which Libreswan 4.10 refuses at the first rekey.
func (w *writer) libreswanPFS(t *config.Tunnel) {
	ike, esp := groupsOf(t.IKEProposals), groupsOf(t.ESPProposals)
	if len(esp) > 0 && !alike(esp, ike) {
		w.line("    # Libreswan 4.10 refuses a rekey of the Child SA with another group than the IKE SA's. Here ike has %s,", strings.Join(ike, ", "))
		w.line("    # and esp has %s: take one group for both, at both ends.", strings.Join(esp, ", "))
	}
}

// groupsOf are the groups of proposals, each once.
func groupsOf(ps []ipsec.Proposal) []string {
	var out []string
	for _, p := range ps {
		for _, g := range p.Of(ipsec.KE) {
			if g.ID != 0 && !slices.Contains(out, g.String()) {
				out = append(out, g.String())
			}
		}
	}
	return out
}

// alike reports whether PFS can have no other group than IKE has.
func alike(esp, ike []string) bool { return len(ike) == 1 && slices.Equal(esp, ike) }

// oneWord is a list as one word.
func oneWord(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return []string{strings.Join(names, "+")}
}

// oneAtLeast is a list to go through, if only once.
func oneAtLeast(names []string) []string {
	if len(names) == 0 {
		return []string{""}
	}
	return names
}

// libreswanList names algorithms. Libreswan has no ChaCha20 and no elliptic groups for IKEv1's ESP.
func (w *writer) libreswanList(key string, version int, ts []ipsec.Transform) []string {
	var out []string
	for _, t := range ts {
		name, ok := libreswanNames[t.String()]
		if !ok {
			name = t.String()
		}
		switch {
		case name == "":
			w.line("    # %s", w.cannot("%v, which Libreswan does not have unless it is built so", t))
			continue
		case version == 1 && key == "esp" && slices.Contains([]string{"chacha20poly1305", "x25519", "ecp256", "ecp384", "ecp521"}, t.String()):
			w.line("    # %s", w.cannot("%v of ESP, which Libreswan does not have in IKEv1", t))
			continue
		}
		out = append(out, name)
	}
	return out
}
