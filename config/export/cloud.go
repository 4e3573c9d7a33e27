package export

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/explain"
	"vpngw/config/load"
	"vpngw/diag"
	"vpngw/dpd"
	"vpngw/ipsec"
)

// cloud is a connection as a cloud's body, in a file that vpngw loads. Loading the file
// for trial finds what the body can't say: whatever differs then.
type cloud struct {
	*writer
	c      *config.Connection
	words  *dialect.Dialect
	vpn    mapping // entries of vpn_gateways
	cust   mapping // entries of customer_gateways
	bodies []body
}

// body is an entry of the list of connections.
type body struct {
	mapping
	t     *config.Tunnel // the tunnel that the parameters beside the body are for
	alive dpd.Config     // dead peer detection as the body has it
	start config.Start   // as the body has it for the cloud's end; empty: it has no word for that
	name  string

	lifetimes bool // the body cannot say all lifetimes, so lifetime: stands beside it
}

func newCloud(w *writer, c *config.Connection, name string) *cloud {
	ds := load.Dialects()
	i := slices.IndexFunc(ds, func(d *dialect.Dialect) bool { return d.Name == name })
	return &cloud{writer: w, c: c, words: ds[i]}
}

// ends are the cloud's and the customer's end of a tunnel.
func (b *cloud) ends(t *config.Tunnel) (cloud, customer config.End) {
	if b.c.Side == config.Cloud {
		return t.Local, t.Remote
	}
	return t.Remote, t.Local
}

// inside are the two ends' addresses in a tunnel.
func (b *cloud) inside(t *config.Tunnel) (cloud, customer netip.Addr) {
	if b.c.Side == config.Cloud {
		return t.Inside.Addr(), t.Peer
	}
	return t.Peer, t.Inside.Addr()
}

// finish writes the file, after loading it for trial.
func (b *cloud) finish() {
	lost := b.trial(b.file(nil))
	if slices.ContainsFunc(lost, func(s string) bool { return strings.HasPrefix(s, "IKE lifetime") || strings.HasPrefix(s, "ESP ") }) {
		for i := range b.bodies {
			b.bodies[i].lifetimes = true
		}
		lost = b.trial(b.file(nil))
	}
	b.text.WriteString(b.file(lost))
}

func (b *cloud) file(lost []string) string {
	file := mapping{}
	file.comment(fmt.Sprintf("Connection %s, the %v's end, as a body of %s.", b.c.Name, b.c.Side, b.words.Name))
	for _, s := range lost {
		file.comment(b.cannot("%s", s))
	}
	file.add("version", plain("1"))
	if len(b.vpn) > 0 {
		file.add("vpn_gateways", b.vpn)
	}
	if len(b.cust) > 0 {
		file.add("customer_gateways", b.cust)
	}
	var list []mapping
	for _, one := range b.bodies {
		m := mapping{{b.words.Name, one.mapping}, {"name", one.name}}
		if b.c.Side == config.Cloud {
			m.add("side", "cloud")
		}
		if !b.Reveal || len(one.t.PSK) == 0 {
			m.comment("The pre-shared key: a file that others cannot read.")
			if files := b.files(one); len(files) > 1 {
				m.add("psk_file", files)
			} else {
				m.add("psk_file", files[0])
			}
		}
		if b.c.Partial {
			m.add("partial", yesNo(true))
		}
		if len(b.bodies) > 1 {
			m.add("pair", b.c.Name)
		}
		if ts := b.tunnels(one); len(ts) == 1 || ts[0].Remote.Port == ts[1].Remote.Port {
			if p := ts[0].Remote.Port; p != 0 {
				m.add("remote_port", whole(uint64(p)))
			}
		} else {
			ports := []string{}
			for _, t := range ts {
				ports = append(ports, strconv.Itoa(cmp.Or(int(t.Remote.Port), 500)))
			}
			m.add("remote_port", ports)
		}
		b.beside(&m, one.t, b.start(one), one.alive, one.lifetimes)
		b.session(&m, b.c.Side, b.tunnels(one), b.words.Name == "alibaba")
		failover(&m, b.c)
		if _, ok := one.mapping.get("peer_subnets"); !ok {
			unrouted(&m, one.t)
		}
		list = append(list, m)
	}
	file.add("connections", list)
	var out strings.Builder
	file.block(&out, "")
	return out.String()
}

// start is how this end starts, by the body.
func (b *cloud) start(one body) config.Start {
	if b.c.Side == config.Customer || one.start == "" {
		return b.c.Side.ByDefault()
	}
	return one.start
}

// tunnels are the tunnels of a body.
func (b *cloud) tunnels(one body) []*config.Tunnel {
	if len(b.bodies) > 1 {
		return []*config.Tunnel{one.t}
	}
	var out []*config.Tunnel
	for i := range b.c.Tunnels {
		out = append(out, &b.c.Tunnels[i])
	}
	return out
}

// files are the files with the keys of a body's tunnels.
func (b *cloud) files(one body) []string {
	if len(b.bodies) > 1 || len(b.c.Tunnels) == 1 {
		return []string{b.keyFile(b.c, one.t)}
	}
	var out []string
	for i := range b.c.Tunnels {
		out = append(out, b.keyFile(b.c, &b.c.Tunnels[i]))
	}
	return out
}

// trial loads a file and returns what of the connection it does not say.
func (b *cloud) trial(text string) []string {
	key := func(name string, _ int) ([]byte, fs.FileMode, error) {
		for i := range b.c.Tunnels {
			if b.keyFile(b.c, &b.c.Tunnels[i]) == name && len(b.c.Tunnels[i].PSK) > 0 {
				return b.c.Tunnels[i].PSK, 0o600, nil
			}
		}
		return []byte("Any-key.1"), 0o600, nil
	}
	s, problems := load.Text("export", []byte(text), key, load.Options{})
	var lost []string
	if s == nil {
		for _, p := range problems {
			if p.Severity == diag.Error {
				lost = append(lost, p.Path+": "+p.Message)
			}
		}
		return lost
	}
	after := explain.Of(s, "")
	var tunnels []*config.Tunnel
	for _, c := range s.Connections {
		for i := range c.Tunnels {
			tunnels = append(tunnels, &c.Tunnels[i])
		}
	}
	for i, before := range explain.Values(b.c) {
		t := &b.c.Tunnels[i]
		if i >= len(tunnels) {
			lost = append(lost, "the tunnel "+t.Name)
			continue
		}
		lost = append(lost, differ(before, after[i].Parameters)...)
		if !slices.Equal(childrenOf(t), childrenOf(tunnels[i])) {
			lost = append(lost, "the pairs of networks that have a Child SA each: "+strings.Join(childrenOf(t), ", "))
		}
		if !t.PSK.Equal(tunnels[i].PSK) && len(t.PSK) > 0 {
			lost = append(lost, "the pre-shared key")
		}
	}
	return lost
}

// differ names the parameters that differ between before and after.
func differ(before, after []explain.Param) []string {
	ignored := []string{"name", "pair", "pairs of networks", "Child SAs", "device", "pre-shared key", "local networks", "remote networks"}
	values := func(ps []explain.Param) map[string]string {
		out := map[string]string{}
		for _, p := range ps {
			if !slices.Contains(ignored, p.Name) {
				out[p.Name] = p.Value
			}
		}
		return out
	}
	is, have := values(before), values(after)
	var out []string
	for _, p := range before {
		if v, ok := is[p.Name]; ok && have[p.Name] != v {
			out = append(out, fmt.Sprintf("%s: %s; here it is %s", p.Name, v, orNone(have[p.Name])))
		}
	}
	for _, p := range after {
		if strings.HasSuffix(p.Name, " AS") { // a cloud has a default AS number, which only BGP uses
			continue
		}
		if _, ok := is[p.Name]; !ok && have[p.Name] != "" {
			out = append(out, fmt.Sprintf("%s: none; here it is %s", p.Name, p.Value))
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// childrenOf are the Child SAs of a tunnel, as texts.
func childrenOf(t *config.Tunnel) []string {
	pairs := t.EachPair()
	if t.IKEVersion != 1 && t.Children == config.Lists && len(pairs) != 1 {
		return []string{joined(t.Local.Subnets) + " - " + joined(t.Remote.Subnets)}
	}
	var out []string
	for _, p := range pairs {
		out = append(out, fmt.Sprintf("%v - %v", p.Local, p.Remote))
	}
	return out
}

// algorithm is the cloud's word for the first algorithm of a type, among the words that
// the row takes. absent is the word for no algorithm. The result is empty where the cloud
// has no word.
func (b *cloud) algorithm(o *dialect.Object, row string, ps []ipsec.Proposal, typ ipsec.TransformType, absent string) string {
	name := absent
	if len(ps) > 0 && len(ps[0].Of(typ)) > 0 {
		name = strings.TrimPrefix(ps[0].Of(typ)[0].String(), "prf")
	}
	i := slices.IndexFunc(o.Rows, func(r dialect.Row) bool { return r.Name == row })
	enum := o.Rows[i].Type.(dialect.Enum)
	for _, word := range slices.Concat(enum.Words, enum.Older) {
		ours, ok := b.words.Words[word]
		if !ok {
			ours = word
		}
		if word == name || ours == name && ours != "" {
			return word
		}
	}
	return ""
}

// hash is the type of the algorithm whose hash a body names: the PRF with an AEAD, else
// integrity.
func hash(ps []ipsec.Proposal) ipsec.TransformType {
	if len(ps) > 0 && len(ps[0].Of(ipsec.Integ)) == 0 {
		return ipsec.PRF
	}
	return ipsec.Integ
}

// lifetime adds a lifetime in seconds, if it is in the body's range.
func lifetime(m *mapping, key string, d, low, high time.Duration) {
	if d >= low && d <= high && d%time.Second == 0 {
		m.add(key, whole(int64(d/time.Second)))
	}
}

// part is the table of a part of the cloud's body.
func (b *cloud) part(name string) *dialect.Object {
	i := slices.IndexFunc(b.words.Body.Rows, func(r dialect.Row) bool { return r.Name == name })
	return b.words.Body.Rows[i].Type.(*dialect.Object)
}

// gateway adds an entry to a table of gateways and returns its id.
func gateway(to *mapping, id string, f flow) string {
	if _, ok := to.get(id); !ok {
		to.add(id, f)
	}
	return id
}

func entryOf(e config.End) flow {
	f := flow{}
	if e.Known() {
		f.add("address", e.Where())
	}
	if e.ASN > 0 {
		f.add("asn", whole(e.ASN))
	}
	return f
}

// customerOf is the entry of the customer's gateway. One whose address is not known has an identity of its own.
func customerOf(e config.End) flow {
	e.Any = e.Any || !e.Known() && ofItsOwn(e)
	return entryOf(e)
}

// ofItsOwn reports whether an end has an identity other than its address.
func ofItsOwn(e config.End) bool {
	return e.ID.Type != 0 && e.ID != ipsec.AnyIdentity && (!e.Address.IsValid() || e.ID != ipsec.IdentityOf(e.Address))
}
