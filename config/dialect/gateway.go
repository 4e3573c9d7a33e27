package dialect

import (
	"net/netip"
	"strings"

	"vpngw/config"
	"vpngw/diag"
	"vpngw/ipsec"
)

// Gateways is a table of gateways by id.
type Gateways struct {
	Section string // "vpn_gateways"
	Entries map[string]*Value
}

// Gateway is the meaning of a gateway's id.
type Gateway struct {
	Address   netip.Addr            // invalid where it has several, or a name
	Host      string                // its name; empty: it has an address
	Any       bool                  // it has none, and may come from anywhere
	ID        ipsec.Identity        // its own, beside its address; zero: none is given
	Addresses map[string]netip.Addr // where it has several: by "master" and "slave", or by the ids of EIPs
	ASN       uint32                // 0: none is given
	Name      string
}

// The tables of one gateway. A cloud's gateway can have several addresses.
var (
	VPNGateway      Type = gatewayType{&Object{Rows: append(gatewayRows(), severalAddresses, haMode)}}
	CustomerGateway Type = gatewayType{&Object{Rows: append(gatewayRows(), idRows...)}}
)

// idRows are Huawei's members of a customer gateway, which can be a name without an address.
var idRows = []Row{
	{Name: "id_type", Type: Enum{Words: []string{"ip", "fqdn"}}, Goes: "customer identity", Doc: "Huawei's: what id_value is; fqdn without an address: it may come from anywhere"},
	{Name: "id_value", Type: Text{Min: 1, Max: 255}, Goes: "customer identity", Doc: "Huawei's: its address, or with fqdn its identity"},
}

func gatewayRows() []Row {
	return []Row{
		{Name: "address", Type: Host{}, Doc: "its public address, or at the other end a name that DNS knows, or any: it may come from anywhere, and its identity tells who it is"},
		{Name: "asn", Type: ASN{}, Doc: "its AS number"},
		{Name: "name", Type: Text{Max: 200}, Doc: "for people"},
	}
}

var severalAddresses = Row{
	Name: "addresses", Type: Table{Of: Addr{}, Name: "addresses"},
	Doc: "several public addresses: by master and slave for a dual-tunnel gateway, by the ids of its EIPs for Huawei's",
}

// haMode is Huawei's word at the gateway itself; no body of a connection has it.
var haMode = Row{
	Name: "ha_mode", Type: Enum{Words: []string{"active-standby", ActiveActive}}, Goes: "balance",
	Doc: "active-active: the two tunnels of a pair, or of a connection, carry traffic at once, as with balance: true beside their bodies",
}

// ActiveActive is the ha_mode of a gateway whose tunnels carry traffic at once.
const ActiveActive = "active-active"

// gatewayType is an entry with one address or with several named ones.
type gatewayType struct{ *Object }

// Entry is the mapping that describes a gateway.
func (t gatewayType) Entry() *Object { return t.Object }

func (t gatewayType) Read(c *Check, v *Value) {
	t.Object.Read(c, v)
	if !v.OK() {
		return
	}
	one, several := v.Field("address"), false
	if t.row(severalAddresses.Name) >= 0 {
		w := v.Field(severalAddresses.Name)
		several = w.Given
		switch {
		case several && one.Given:
			c.Fail(w, Conflict, "address stands here too; give one of the two")
		case w.OK() && len(w.Entries()) == 0:
			c.Fail(w, Missing, "at least one address is needed")
		}
	}
	named := false
	if t.row("id_type") >= 0 {
		named = t.readID(c, v)
	}
	if !one.Given && !several && !named {
		c.Fail(one, Missing, "address is missing")
	}
}

// readID checks the two members of a customer gateway's id, and reports whether they take the place of its address.
func (t gatewayType) readID(c *Check, v *Value) bool {
	kind, id := v.Field("id_type"), v.Field("id_value")
	switch {
	case kind.Given && !id.Given:
		c.Fail(id, Missing, "with id_type its id_value is needed")
	case id.Given && kind.Text() == "fqdn":
	case id.OK():
		a, ok := plainAddress(id.Text())
		switch {
		case !ok:
			c.Fail(id, Malformed, "an IP address is expected here; for a name write id_type: fqdn")
		case v.Field("address").Given && v.Field("address").Addr() != a:
			c.Fail(id, Conflict, "address is another one; give one of the two")
		}
	}
	return kind.Given || id.Given
}

// Lookup is the gateway that v, the text of an id, stands for. An address stands for a
// gateway with this address. An unknown id is not reported.
func (g Gateways) Lookup(v *Value) (Gateway, bool) {
	id := v.Text()
	if !v.OK() {
		return Gateway{}, false
	}
	if e, ok := g.Entries[id]; ok {
		out := Gateway{Address: e.Field("address").Addr(), Host: e.Field("address").Text(), ASN: uint32(e.Field("asn").Int()), Name: e.Field("name").Text()}
		if out.Host == config.Anywhere {
			out.Host, out.Any = "", true
		}
		o, ok := e.Row.Type.(gatewayType)
		if ok && o.row("id_type") >= 0 && e.Field("id_value").OK() {
			if id := e.Field("id_value").Text(); e.Field("id_type").Text() == "fqdn" {
				out.ID = ipsec.Identity{Type: ipsec.IDFQDN, Data: id}
				out.Any = out.Any || !out.Address.IsValid() && out.Host == ""
			} else if !out.Any && out.Host == "" {
				out.Address, _ = plainAddress(id)
			}
		}
		if ok && o.row(severalAddresses.Name) >= 0 {
			if several := e.Field(severalAddresses.Name); several.OK() {
				out.Addresses = map[string]netip.Addr{}
				for name, a := range several.Entries() {
					if a.OK() {
						out.Addresses[name] = a.Addr()
					}
				}
			}
		}
		return out, e.OK()
	}
	a, ok := plainAddress(id)
	return Gateway{Address: a}, ok
}

func plainAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// How a message shows an entry.
const (
	OneAddress = "{address: A.B.C.D}"
	TwoAddress = "{addresses: {master: A.B.C.D, slave: A.B.C.D}}"
)

// Find is Lookup, and reports an unknown id with the line to add: the id, and like,
// which is OneAddress, TwoAddress or an entry as the dialect needs it.
func (g Gateways) Find(c *Check, v *Value, like string) (Gateway, bool) {
	out, ok := g.Lookup(v)
	if !ok && v.OK() && g.Entries[v.Text()] == nil {
		p := c.problem(v, diag.Error, NotFound, "%s has no such entry; add to it the line  %s: %s", g.Section, printable(v.Text()), like)
		p.Nearest = Nearest(v.Text(), names(g.Entries))
		c.Add(p)
	}
	return out, ok
}

// One is the gateway that v names. A gateway with several addresses is an error.
func (g Gateways) One(c *Check, v *Value) (Gateway, bool) {
	out, ok := g.Find(c, v, OneAddress)
	if ok && !out.Address.IsValid() && len(out.Addresses) > 0 {
		c.Fail(v, Ambiguous, "this gateway has several addresses in %s (%s), and the connection is of one tunnel: give the one that it ends at, as  %s: %s",
			g.Section, strings.Join(names(out.Addresses), ", "), printable(v.Text()), OneAddress)
		return out, false
	}
	return out, ok
}

// Customer is One of the customer's gateway. At the cloud's end one of which the file says nothing may come from anywhere, if the body
// has an identity of it in id that is no address.
func (e Env) Customer(c *Check, v, id *Value, named bool) (Gateway, bool) {
	_, known := e.Cust.Lookup(v)
	if known || e.Side != config.Cloud || !named || !v.OK() || e.Cust.Entries[v.Text()] != nil || Nearest(v.Text(), names(e.Cust.Entries)) != "" {
		return e.Cust.One(c, v)
	}
	c.Warn(v, NotFound, "%s has no such entry, so this peer may come from anywhere, and its identity %s tells who it is; to say so write there  %s: {address: any}, or its address",
		e.Cust.Section, printable(id.Text()), printable(v.Text()))
	return Gateway{Any: true}, true
}

// At is the gateway that v names; its Address is the one that is called name. at is the
// value that has this name: v, or another parameter.
func (g Gateways) At(c *Check, v, at *Value, name, like string) (Gateway, bool) {
	out, ok := g.Find(c, v, like)
	if !ok {
		return out, false
	}
	if out.Addresses == nil {
		c.Fail(v, Ambiguous, "this gateway needs an address for %s: write in %s  %s: %s", printable(name), g.Section, printable(v.Text()), like)
		return out, false
	}
	a, ok := out.Addresses[name]
	if !ok {
		known := names(out.Addresses)
		c.Refuse(at, NotFound, name, known, "%s.%s.addresses has no entry for it; add  %s: A.B.C.D", g.Section, printable(v.Text()), printable(name))
		return out, false
	}
	out.Address = a
	return out, true
}
