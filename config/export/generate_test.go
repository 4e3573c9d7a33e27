package export

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/ipsec"
)

// generator makes connections from the tables: for each row a value that its type takes.
// Rows that decide related parameters get values that fit together: the two ends'
// networks lie apart, their addresses differ. A file that is refused nevertheless is made again.
type generator struct {
	*rand.Rand
	dialect string
}

// valid makes a file that loads, with one connection or a pair.
func (g *generator) valid() (string, *load.Result) {
	for range 10_000 {
		text := g.file()
		s, _ := load.Text("vpngw.yaml", []byte(text), keyFile, load.Options{})
		if s != nil {
			return text, s
		}
	}
	text := g.file()
	_, ps := load.Text("vpngw.yaml", []byte(text), keyFile, load.Options{})
	panic(fmt.Sprintf("nothing valid comes of the tables of %s: %v\n%s", g.dialect, ps, text))
}

func keyFile(name string, _ int) ([]byte, fs.FileMode, error) {
	if strings.HasSuffix(name, ".psk") {
		return []byte("a-Key.of-the-file.1\n"), 0o600, nil
	}
	return nil, 0, fs.ErrNotExist
}

func (g *generator) file() string {
	connections := []map[string]any{g.connection()}
	if g.IntN(4) == 0 {
		connections = append(connections, g.connection())
		g.settlePair(connections[0], connections[1])
	}
	file := map[string]any{"version": 1, "connections": connections}
	for _, section := range []string{"vpn_gateways", "customer_gateways"} {
		file[section] = gateways[section]
	}
	out, err := json.Marshal(file)
	if err != nil {
		panic(err)
	}
	return string(out)
}

// connection is an entry of the list of connections.
func (g *generator) connection() map[string]any {
	root := load.Table().Type.(*dialect.Object)
	var connection *dialect.Object
	for _, r := range root.Rows {
		if r.Name == "connections" {
			connection = r.Type.(dialect.List).Of.(*dialect.Object)
		}
	}
	c := map[string]any{}
	for i := range connection.Rows {
		r := &connection.Rows[i]
		_, body := r.Type.(dialect.Request)
		switch {
		case r.Name == g.dialect:
			c[r.Name] = g.value(r, r.Type)
		case body, r.Name == "psk_file", r.Name == "allow", r.Name == "pair", r.Name == "bgp":
		case g.IntN(6) == 0:
			c[r.Name] = g.value(r, r.Type)
		}
	}
	if g.IntN(8) == 0 {
		c["allow"] = []string{"null-encryption"}
	}
	g.reconcile(c)
	return c
}

var gateways = map[string]map[string]any{
	"vpn_gateways": {
		"vpn-1": map[string]any{"address": "198.51.100.1", "asn": 65010},
		"vpn-2": map[string]any{"address": "198.51.100.2"},
		"vpn-3": map[string]any{"addresses": map[string]any{"master": "198.51.100.3", "slave": "198.51.100.4", "eip-1": "198.51.100.5"}},
	},
	"customer_gateways": {
		"cgw-1": map[string]any{"address": "203.0.113.9", "asn": 65020, "name": "hq"},
		"cgw-2": map[string]any{"address": "203.0.113.10", "asn": 65030},
	},
}

// value is one for a row, or for what its lists hold.
func (g *generator) value(r *dialect.Row, t dialect.Type) any {
	if v := g.fitting(r); v != nil {
		return v
	}
	if strings.HasSuffix(r.Goes, "inside address") { // a text with a check of its own
		return "169.254.11.2/30"
	}
	switch t := t.(type) {
	case dialect.List:
		out := []any{}
		n := 1 + g.IntN(min(3, t.Max))
		if t.Max == 2 { // both or none
			n = 2
		}
		for range n {
			out = append(out, g.value(r, t.Of))
		}
		return out
	case interface{ Forms() []dialect.Type }:
		return g.value(r, t.Forms()[0])
	case dialect.Or:
		if g.IntN(2) == 0 {
			return g.value(r, t.Scalar)
		}
		return g.value(r, t.Other)
	case interface{ Table() *dialect.Object }:
		return g.object(t.Table())
	case dialect.Secret:
		return g.text(t.Text)
	case dialect.Text:
		return g.text(t)
	case dialect.Enum:
		return t.Words[g.IntN(len(t.Words))]
	case dialect.Bool:
		return g.IntN(2) == 0
	case dialect.Int:
		return g.whole(t.Min, t.Max)
	case dialect.Duration:
		return g.whole(int64((t.Min+time.Second-1)/time.Second), int64(t.Max/time.Second))
	case dialect.Addr:
		return fmt.Sprintf("203.0.113.%d", 1+g.IntN(250))
	case dialect.Prefix, dialect.Block:
		return g.prefix(172)
	case dialect.Prefixes:
		return g.prefixes(t, 172)
	case dialect.ASN:
		return g.whole(1, 1<<32-1)
	case dialect.Proposal:
		return g.proposal(t.Proto)
	}
	panic(fmt.Sprintf("no value for %s, a %T", r.Name, t))
}

// fitting is a value that fits the values of related rows.
func (g *generator) fitting(r *dialect.Row) any {
	for word := range strings.SplitSeq(r.Goes, ", ") {
		end, of, _ := strings.Cut(word, " ")
		far := end == "remote" || end == "cloud"
		switch of {
		case "address":
			_, text := r.Type.(dialect.Text) // an id
			switch {
			case text && far && r.Name == "vgw_ip":
				return []string{"eip-1", "198.51.100.8"}[g.IntN(2)]
			case text && far:
				return []string{"vpn-1", "vpn-2", "vpn-3", "198.51.100.7"}[g.IntN(4)]
			case text:
				return []string{"cgw-1", "cgw-2", "203.0.113.77"}[g.IntN(3)]
			case far:
				return fmt.Sprintf("198.51.100.%d", 1+g.IntN(250))
			}
		case "networks":
			if _, ok := r.Type.(dialect.Block); ok {
				return g.prefix(map[bool]int{true: 10, false: 192}[far])
			}
			if t, ok := r.Type.(dialect.Prefixes); ok {
				if g.IntN(8) == 0 {
					return g.everything(t)
				}
				return g.prefixes(t, map[bool]int{true: 10, false: 192}[far])
			}
		case "AS":
			if _, text := r.Type.(dialect.Text); text { // an id
				return "vpn-3"
			}
		case "inside address":
			address := map[bool]string{true: "169.254.11.1", false: "169.254.11.2"}[far]
			switch r.Type.(type) {
			case dialect.Inside:
				return address + "/30"
			case dialect.Addr:
				return address
			}
		}
	}
	switch r.Name {
	case "TunnelCidr":
		return "169.254.11.0/30"
	case "EnableTunnelsBgp":
		return g.IntN(8) == 0
	case "children":
		return []string{"lists", "pairs"}[g.IntN(2)]
	}
	return nil
}

func (g *generator) object(o *dialect.Object) map[string]any {
	out := map[string]any{}
	for i := range o.Rows {
		r := &o.Rows[i]
		wanted := r.Required || holdsKey(r) || strings.Contains(r.Goes, " address") || g.IntN(2) == 0
		if r.Type != nil && r.Later == "" && wanted {
			out[r.Name] = g.value(r, r.Type)
		}
	}
	return out
}

// holdsKey reports whether the pre-shared key stands in a row, or within it.
func holdsKey(r *dialect.Row) bool {
	if o, ok := r.Type.(*dialect.Object); ok {
		return slices.ContainsFunc(o.Rows, func(r dialect.Row) bool { return holdsKey(&r) })
	}
	return r.Goes == "pre-shared key"
}

// text is one of a few kinds that its Check takes.
func (g *generator) text(t dialect.Text) string {
	letters := []string{"abcdefghijklmnopqrstuvwxyz0123456789", "aB3.-_", "@:#x1", "aB3~!@$%^()-_+={},./:;", "äöü€ x"}
	for range 1000 {
		from := []rune(letters[g.IntN(len(letters))])
		most := 24
		if t.Max > 0 {
			most = min(most, t.Max)
		}
		var b strings.Builder
		for range t.Min + g.IntN(max(1, most-t.Min+1)) {
			b.WriteRune(from[g.IntN(len(from))])
		}
		if s := b.String(); t.Check == nil || t.Check(s) == "" {
			return s
		}
	}
	panic("no text passes the check")
}

// number is a number from low to high, more often one of the bounds.
func (g *generator) whole(low, high int64) int64 {
	switch g.IntN(4) {
	case 0:
		return low
	case 1:
		return high
	}
	return low + g.Int64N(high-low)
}

func (g *generator) prefix(first int) string {
	bits := 16 + g.IntN(17)
	p, err := netip.AddrFrom4([4]byte{byte(first), byte(g.IntN(256)), byte(g.IntN(256)), byte(g.IntN(256))}).Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p.String()
}

func (g *generator) prefixes(t dialect.Prefixes, first int) any {
	out := []string{}
	for range 1 + g.IntN(3) {
		out = append(out, g.prefix(first))
	}
	if t.Comma {
		return strings.Join(out, ",")
	}
	if g.IntN(10) == 0 {
		out = append(out, fmt.Sprintf("fd%02x::/16", first))
	}
	return out
}

func (g *generator) everything(t dialect.Prefixes) any {
	if t.Comma {
		return "0.0.0.0/0"
	}
	return []string{"0.0.0.0/0"}
}

// proposal is a valid proposal: a cipher, the algorithms that it needs, and sometimes more
// of each type.
func (g *generator) proposal(proto ipsec.Protocol) string {
	for range 1000 {
		var names []string
		for _, typ := range []ipsec.TransformType{ipsec.Encr, ipsec.Integ, ipsec.PRF, ipsec.KE, ipsec.ESN} {
			var all []string
			for _, a := range ipsec.Algorithms {
				if a.Transform.Type == typ {
					all = append(all, a.Name)
				}
			}
			for range []int{1, 1, 1, 0, 2}[g.IntN(5)] {
				names = append(names, all[g.IntN(len(all))])
			}
		}
		s := strings.Join(names, "-")
		if _, err := ipsec.ParseProposal(proto, s); err == nil {
			return s
		}
	}
	panic("no proposal reads")
}
