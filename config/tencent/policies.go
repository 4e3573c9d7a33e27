package tencent

import (
	"fmt"
	"net/netip"
	"slices"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/tree"
)

// maxPairs is the cloud's quota for one gateway.
const maxPairs = 200

// policies is the type of SecurityPolicyDatabases: a list of local blocks, each with its
// remote ones, or the short form in the page's text: {"10.0.0.5/24": ["172.123.10.5/16"]}.
type policies struct{}

func (policies) Hides() bool { return false }

// Forms are the forms that the value may have.
func (policies) Forms() []dialect.Type { return []dialect.Type{longForm, shortForm} }

func (policies) Read(c *dialect.Check, v *dialect.Value) {
	if v.Node.Kind == tree.Map {
		shortForm.Read(c, v)
		return
	}
	longForm.Read(c, v)
}

var (
	remotes     = dialect.Prefixes{Max: maxPairs}
	longForm    = dialect.List{Of: policy, Name: "SecurityPolicyDatabases", Max: maxPairs}
	shortForm   = dialect.Table{Of: remotes, Name: "SecurityPolicyDatabases"}
	policyCodes = dialect.Codes{
		dialect.Missing: empty, dialect.WrongType: malformed, dialect.Malformed: malformed, dialect.TooMany: "LimitExceeded",
		dialect.Twice: "InvalidParameter.Coexist",
	}
)

var policy = &dialect.Object{Rows: []dialect.Row{
	{Name: "LocalCidrBlock", Type: dialect.Block{}, Required: true, Codes: codes, Goes: "cloud networks, pairs of networks", Doc: "a subnet behind the cloud's gateway"},
	{
		Name: "RemoteCidrBlock", Type: remotes, Required: true, Goes: "customer networks, pairs of networks", Doc: "subnets behind the customer's gateway",
		Codes: dialect.Codes{
			dialect.Missing: empty, dialect.WrongType: malformed, dialect.Malformed: malformed, dialect.TooMany: "LimitExceeded",
			dialect.Twice: "InvalidParameterValue.Duplicate",
		},
	},
}}

// pairs are each local block of the policies with each of its remote ones, in their
// order. whole is false when one cannot be read.
func pairs(c *dialect.Check, v *dialect.Value) (out []config.Pair, whole bool) {
	if !v.Given {
		return nil, true
	}
	whole = v.OK()
	seen := map[config.Pair]bool{}
	add := func(local netip.Prefix, remote *dialect.Value) {
		for _, r := range remote.Prefixes() {
			p := config.Pair{Local: local, Remote: r}
			switch {
			case len(out) > maxPairs: // reported below
			case local.Addr().Is4() != r.Addr().Is4():
				c.Fail(remote, dialect.Malformed, "%v and %v are of different families", local, r)
				whole = false
			case seen[p]:
				c.Fail(remote, dialect.Twice, "the pair %v and %v stands here twice", local, r)
			default:
				out = append(out, p)
			}
			seen[p] = true
		}
	}
	for _, item := range v.Items() {
		local, remote := item.Field("LocalCidrBlock"), item.Field("RemoteCidrBlock")
		if !item.OK() || !local.OK() || !remote.OK() {
			whole = false
			continue
		}
		add(local.Prefix(), remote)
	}
	keys := make([]string, 0, len(v.Entries()))
	for key := range v.Entries() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		remote := v.Entries()[key]
		if c.Full() || len(out) > maxPairs {
			break
		}
		local, err := netip.ParsePrefix(key)
		if err != nil {
			c.Fail(v, dialect.Malformed, "a key of it is not a CIDR block; write a list of {LocalCidrBlock: …, RemoteCidrBlock: […]}")
			whole = false
			continue
		}
		if m := local.Masked(); m != local {
			c.Warn(remote, dialect.HostBits, "%v has bits set behind its mask; read as %v", local, m)
			local = m
		}
		whole = whole && remote.OK()
		add(local, remote)
	}
	if len(out) > maxPairs {
		c.Fail(v, dialect.TooMany, "more than %d pairs of subnets are not allowed", maxPairs)
	}
	return out, whole
}

// Values describes the values for docs/parameters.md.
func (policies) Values() string {
	return fmt.Sprintf("list of at most %d, or {local block: [remote blocks]}", maxPairs)
}

// Entry is the table of one policy.
func (policies) Entry() *dialect.Object { return policy }
