package drift

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/config/native"
	"vpngw/config/tree"
	"vpngw/diag"
)

// Answer is the view of the connection that here is, in a cloud's answer; of several that the answer holds, the one
// with the same id, or between the same gateways, or of the same name. notes say what of it could not be read.
func Answer(here View, name string, data []byte) (v View, notes []string, err error) {
	d, node, err := find(here, name, data)
	if err != nil {
		return View{}, nil, err
	}
	c := dialect.NewCheck(tree.NewBudget())
	body := c.Root(node, &dialect.Row{Type: dialect.Request{Dialect: d}})
	for _, p := range c.Problems() {
		if p.Severity != diag.Error {
			continue
		}
		if strings.HasSuffix(p.Code, "."+string(dialect.Unknown)) {
			notes = append(notes, fmt.Sprintf("%s: an unknown member of the answer is not compared", p.Path))
		} else {
			notes = append(notes, fmt.Sprintf("%s: %s", cmp.Or(p.Path, name), p.Message))
		}
	}
	for _, path := range body.Newer() {
		notes = append(notes, path+": an unknown member of the answer is not compared")
	}
	if !body.OK() {
		return View{}, nil, fmt.Errorf("%s cannot be read: %s", name, strings.Join(notes, "; "))
	}
	vpn, customer := here.known(body)
	b := build(d.Name, body, vpn, customer)
	if b == nil || len(b.Tunnels) == 0 {
		return View{}, nil, fmt.Errorf("%s describes no tunnel", name)
	}
	v = View{Connection: here.Connection, Dialect: d.Name}
	v.Name, v.ID, v.Gateways = identify(body)
	for i := range b.Tunnels {
		v.Tunnels = append(v.Tunnels, tunnelOf(b, i))
	}
	return v, notes, nil
}

// find is the connection in an answer.
func find(here View, name string, data []byte) (*dialect.Dialect, *tree.Node, error) {
	req, errs := tree.ReadBody(name, data, tree.NewBudget())
	if len(errs) > 0 {
		return nil, nil, errs[0]
	}
	if req == nil || req.Root == nil || req.Root.Kind != tree.Map {
		return nil, nil, fmt.Errorf("%s holds no answer of a cloud's API: JSON is expected", name)
	}
	cloud := here.Dialect
	if cloud == native.Name {
		if cloud = load.Guess(data); cloud == "" {
			return nil, nil, fmt.Errorf("%s does not say by its members which cloud's answer it is", name)
		}
	}
	d := load.DialectOf(cloud)
	all := d.Members(req.Root)
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%s holds no connection", name)
	}
	if d.Knows(req.Root) == 0 {
		return nil, nil, fmt.Errorf("%s has no member of %s's connections; is it the answer that describes them?", name, cloud)
	}
	if len(all) == 1 {
		return d, all[0], nil
	}
	first := func(names ...string) func(n *tree.Node) string {
		return func(n *tree.Node) string {
			for _, name := range names {
				if s := dialect.Member(n, name); s != "" {
					return s
				}
			}
			return ""
		}
	}
	id, called := first("VpnConnectionId", "id"), first("Name", "name", "VpnConnectionName")
	vpn, customer := first("VpnGatewayId", "vgw_id"), first("CustomerGatewayId", "cgw_id")
	for _, is := range []func(n *tree.Node) bool{
		func(n *tree.Node) bool { return here.ID != "" && id(n) == here.ID },
		func(n *tree.Node) bool {
			return vpn(n) == here.Gateways[0] && customer(n) == here.Gateways[1] && called(n) == here.Name
		},
		func(n *tree.Node) bool {
			return here.Gateways[0] != "" && vpn(n) == here.Gateways[0] && customer(n) == here.Gateways[1]
		},
		func(n *tree.Node) bool {
			return called(n) != "" && (called(n) == here.Name || called(n) == here.Connection)
		},
	} {
		if found := slices.DeleteFunc(slices.Clone(all), func(n *tree.Node) bool { return n.Kind != tree.Map || !is(n) }); len(found) == 1 {
			return d, found[0], nil
		}
	}
	var has []string
	for _, n := range all {
		has = append(has, strings.TrimSpace(printable(called(n))+" "+printable(id(n))))
	}
	return nil, nil, fmt.Errorf("%s holds %d connections, and none of them alone has the gateways or the name of %q: leave the one that is meant; there are: %s",
		name, len(all), here.Connection, printable(strings.Join(has, ", ")))
}

// known are the entries of here's gateways, without what the answer says itself.
func (here View) known(body *dialect.Value) (vpn, customer map[string]*dialect.Value) {
	vpns, customers := here.VPN, map[string]Gateway{}
	if tells(body, "InternetIp", func(v *dialect.Value) bool { return v.OK() }) {
		vpns = nil
	}
	as := func(v *dialect.Value) bool { return v.Int() > 0 }
	own := tells(body, "BgpConfig.PeerAsn", as) || tells(body, "TunnelBgpConfig.PeerAsn", as)
	for id, g := range here.Customer {
		if own {
			g.ASN = 0
		}
		customers[id] = g
	}
	return entries(vpns, dialect.VPNGateway), entries(customers, dialect.CustomerGateway)
}

// tells reports whether a parameter of the body, or of one of its tunnels, is as is says.
func tells(body *dialect.Value, path string, is func(*dialect.Value) bool) bool {
	all := []*dialect.Value{body}
	if tunnels := "TunnelOptionsSpecification"; body.Has(tunnels) {
		all = append(all, body.Field(tunnels).Items()...)
	}
	return slices.ContainsFunc(all, func(v *dialect.Value) bool {
		for name := range strings.SplitSeq(path, ".") {
			if !v.Has(name) {
				return false
			}
			v = v.Field(name)
		}
		return is(v)
	})
}

// entries are gateways as a file's tables read them.
func entries(gs map[string]Gateway, of dialect.Type) map[string]*dialect.Value {
	data, err := json.Marshal(gs)
	if err != nil {
		panic(err) // texts and numbers
	}
	budget := tree.NewBudget()
	root, _ := tree.Read("gateways", data, budget)
	if root == nil || root.Kind != tree.Map {
		return nil
	}
	return dialect.NewCheck(budget).Root(root, &dialect.Row{Type: dialect.Table{Of: of, Name: "gateways"}}).Entries()
}
