package drift

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vpngw/config/native"
)

// Drift is a parameter that differs.
type Drift struct {
	Tunnel    string `json:"tunnel"`    // empty: it is the whole connection's
	Parameter string `json:"parameter"` // in the cloud's words
	There     string `json:"there"`     // in the cloud
	Here      string `json:"here"`
	Where     string `json:"where"` // file:line of what is here; empty: nowhere is it given
	Do        string `json:"do"`    // who changes what
}

// Result is a comparison.
type Result struct {
	Connection  string   `json:"connection"`
	Dialect     string   `json:"dialect"`
	Operation   string   `json:"operation"` // of the cloud's API, which changes a connection there
	Drifts      []Drift  `json:"drifts"`
	NotCompared []string `json:"not_compared"` // and why, a sentence each
	Notes       []string `json:"notes"`
}

// modify names the operations that change a connection in its cloud.
var modify = map[string]string{
	"alibaba": "ModifyVpnConnectionAttribute", "huawei": "UpdateVpnConnection", "tencent": "ModifyVpnConnectionAttribute",
}

// Compare compares what is here with what a cloud's answer says.
func Compare(here, there View, notes []string) Result {
	r := Result{Connection: here.Connection, Dialect: there.Dialect, Operation: modify[there.Dialect], Drifts: []Drift{}, NotCompared: []string{}, Notes: append([]string{}, notes...)}
	if len(here.Tunnels) != len(there.Tunnels) {
		r.add(here, "", "TunnelOptionsSpecification", tunnelCount(there), tunnelCount(here), "")
		return r
	}
	for i, t := range there.Tunnels {
		at := slices.IndexFunc(here.Tunnels, func(h Tunnel) bool { return h.Role == t.Role })
		if at < 0 || len(here.Tunnels) == 1 {
			at = min(i, len(here.Tunnels)-1)
		}
		r.tunnel(here, here.Tunnels[at], t)
	}
	return r
}

func tunnelCount(v View) string {
	if len(v.Tunnels) == 1 {
		return "one tunnel"
	}
	return fmt.Sprintf("%d tunnels", len(v.Tunnels))
}

func (r *Result) tunnel(view View, here, there Tunnel) {
	rows := map[string]Row{}
	for _, row := range here.Rows {
		rows[row.Path] = row
	}
	for _, row := range there.Rows {
		ours, both := rows[row.Path]
		switch {
		case secretWord(row.Words):
			r.secret(view, here, there, row)
			continue
		case view.Dialect == native.Name:
			r.native(view, here, there, row)
			continue
		case !both:
			continue
		case gatewayIDs[row.Path[strings.LastIndex(row.Path, ".")+1:]]:
			// An id is compared as such: what it stands for is known here only.
			if _, err := netip.ParseAddr(ours.Data); err != nil && row.Data != ours.Data {
				r.add(view, here.Name, row.Path, text(row, there), text(ours, here), ours.Where)
			}
			continue
		}
		var differ []string
		for _, w := range row.Words {
			if !equal(here.Values[w], there.Values[w]) {
				differ = append(differ, w)
			}
		}
		switch {
		case len(differ) == 0 || unnamed(row, ours) || follows(differ, here, there):
		case row.untold && (ours.Where != "" || row.List || ours.List):
			if (row.Data != ours.Data || ours.Other || row.List || ours.List) && !r.explained(row, there, differ) {
				is := text(ours, here)
				if ours.Other {
					is = meaning(here, differ)
				}
				r.skip("%s: the answer leaves it out; here it is %s", row.Path, is)
			}
		case row.List || ours.List || ours.Other:
			r.add(view, here.Name, row.Path, meaning(there, differ), meaning(here, differ), ours.Where)
		case row.Data != ours.Data && !literal(ours, there, differ):
			r.add(view, here.Name, row.Path, text(row, there), text(ours, here), ours.Where)
		}
	}
}

// gatewayIDs are the parameters that name a gateway.
var gatewayIDs = map[string]bool{"VpnGatewayId": true, "CustomerGatewayId": true, "vgw_id": true, "cgw_id": true}

// agreed are the parameters that both ends of a native connection have to have alike.
var agreed = []string{
	"local address", "remote address", "local identity", "remote identity", "local networks", "remote networks", "pairs of networks",
	"IKE version", "IKEv1 mode", "IKE encryption", "IKE integrity", "IKE PRF", "IKE key exchange", "IKE lifetime",
	"ESP encryption", "ESP integrity", "PFS", "ESP lifetime", "local inside address", "remote inside address", "local AS", "remote AS", "BGP",
}

// native compares a row with a connection that no body of a cloud describes.
func (r *Result) native(view View, here, there Tunnel, row Row) {
	var differ []string
	for _, w := range row.Words {
		h, c := here.Values[w], there.Values[w]
		if (h == "" || c == "") && (w == "pairs of networks" || strings.HasSuffix(w, " AS") || strings.HasSuffix(w, " inside address")) {
			continue // only one side says it: the networks say the same, and BGP's parameters need BGP
		}
		if slices.Contains(agreed, w) && c != unknownAddress && c != unknownIdentity && !equal(h, c) {
			differ = append(differ, w)
		}
	}
	if len(differ) > 0 && (row.Where != "" || row.Data != "") {
		r.add(view, here.Name, row.Path, meaning(there, differ), meaning(here, differ), "")
	}
}

// What config/explain says of an end whose gateway is not known.
const (
	unknownAddress  = "the one that the route chooses"
	unknownIdentity = "not known"
)

// equal reports whether two values are the same, or one of several.
func equal(a, b string) bool {
	if a == b {
		return true
	}
	return slices.Contains(strings.Split(a, either), b) || slices.Contains(strings.Split(b, either), a)
}

// switches are the parameters that turn something on, with what means nothing without it.
var switches = map[string][]string{
	"BGP":                 {"BGP ", "local AS", "remote AS", "local inside address", "remote inside address"},
	"health check":        {"health check "},
	"dead peer detection": {"DPD "},
}

// follows reports whether all that differs only does because something is on at one side and off at the other.
func follows(differ []string, here, there Tunnel) bool {
	return !slices.ContainsFunc(differ, func(word string) bool {
		for of, parts := range switches {
			if !equal(here.Values[of], there.Values[of]) && slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(word, p) }) {
				return false
			}
		}
		return true
	})
}

// unnamed reports whether row is the connection's name and one side has none.
func unnamed(row, ours Row) bool {
	return slices.Contains(row.Words, "name") && (row.Data == "" || ours.Data == "")
}

// literal reports whether ours has an address in place of a gateway's id, which the answer has: nobody knows
// whether these are the same.
func literal(ours Row, there Tunnel, differ []string) bool {
	if _, err := netip.ParseAddr(ours.Data); err != nil {
		return false
	}
	return !slices.ContainsFunc(differ, func(w string) bool {
		return !strings.HasSuffix(w, " address") && !strings.HasSuffix(w, " AS") || strings.HasSuffix(w, " address") && there.Values[w] != unknownAddress
	})
}

// text is a value for people: as the body has it, else what it means.
func text(row Row, t Tunnel) string {
	if row.Data != "" {
		if row.Where == "" {
			return row.Data + " (default)"
		}
		return row.Data
	}
	if m := meaning(t, row.Words); m != "" {
		return m + " (default)"
	}
	return "none"
}

// meaning is what a tunnel's parameters are in our words.
func meaning(t Tunnel, words []string) string {
	if pairs := "pairs of networks"; slices.Contains(words, pairs) && t.Values[pairs] != "" {
		return t.Values[pairs]
	}
	var out []string
	for _, w := range words {
		if v := t.Values[w]; v != "" && v != unknownAddress && v != unknownIdentity && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return cmp.Or(strings.Join(out, "; "), "none")
}

// add notes a drift, once for the whole connection.
func (r *Result) add(view View, tunnel, path, there, here, where string) {
	if len(view.Tunnels) == 1 || !strings.Contains(path, "[") {
		if slices.ContainsFunc(r.Drifts, func(d Drift) bool { return d.Parameter == path }) {
			return
		}
		if tunnel = ""; len(view.Tunnels) == 1 {
			tunnel = view.Tunnels[0].Name
		}
	}
	file := "write it into the body here"
	if where != "" {
		file = "change " + where
	}
	do := fmt.Sprintf("if the cloud is right, %s and reload; if not, set it there (%s)", file, modify[r.Dialect])
	if view.Dialect == native.Name {
		do = fmt.Sprintf("if the cloud is right, change it here and reload; if not, set it there (%s)", modify[r.Dialect])
	}
	r.Drifts = append(r.Drifts, Drift{tunnel, path, there, here, where, do})
}

// skip notes what is not compared.
func (r *Result) skip(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.NotCompared, s) {
		r.NotCompared = append(r.NotCompared, s)
	}
}

// explained reports whether another parameter, which the answer names, says what this one is about.
func (r *Result) explained(row Row, there Tunnel, differ []string) bool {
	return slices.ContainsFunc(there.Rows, func(o Row) bool {
		return o.Path != row.Path && !o.untold && o.Where != "" && slices.ContainsFunc(o.Words, func(w string) bool { return slices.Contains(differ, w) })
	})
}

// secretWord reports whether a row is a key.
func secretWord(words []string) bool {
	return slices.Contains(words, "pre-shared key") || slices.Contains(words, "BGP key")
}

// secret compares a key, without showing it.
func (r *Result) secret(view View, here, there Tunnel, row Row) {
	word := row.Words[0]
	ours, known := here.secrets[word]
	theirs := there.secrets[word]
	if word == "BGP key" && there.Values["BGP"] == "" {
		return
	}
	not := func(says string) { r.skip("%s: %s", row.Path, says) }
	switch {
	case len(theirs) == 0 && word == "BGP key" && len(ours) == 0 && known:
	case len(theirs) == 0:
		not("the answer does not hold the key")
	case masked(theirs):
		not("the answer masks the key")
	case here.secrets == nil:
		not("the daemon gives out no keys; -c FILE compares them")
	case !bytes.Equal(ours, theirs):
		r.add(view, here.Name, row.Path, "a key (not shown)", "another key (not shown)", "")
	}
}

// masked reports whether a cloud wrote something else in place of a key.
func masked(key []byte) bool {
	return len(bytes.Trim(key, "*")) == 0 || len(bytes.Trim(key, "xX")) == 0 || strings.Contains(string(key), "***")
}
