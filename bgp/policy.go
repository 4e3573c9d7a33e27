package bgp

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The names of the policies that GoBGP has from us.
const (
	exportPolicy = "vpngw-out"
	importPolicy = "vpngw-in"
)

// exported is one peer's part of the export policy.
type exported struct {
	session Session
	except  []netip.Prefix // what others are told and this peer is not, sorted
}

// export replaces the export policy of a peer, and tells it again what it is told.
func (c *client) export(ctx context.Context, s Session, except []netip.Prefix) error {
	was := c.policies[s.Remote]
	if err := c.setPolicy(ctx, s, except); err != nil {
		return err
	}
	// GoBGP withdraws nothing when a policy changes: what this peer must not have any more is taken from all peers, and
	// told again to the others.
	var again []Tell
	for _, p := range except {
		if _, had := slices.BinarySearchFunc(was.except, p, netip.Prefix.Compare); had {
			continue
		}
		if t, ok := c.told[p]; ok {
			again = append(again, t)
		}
	}
	if len(again) > 0 {
		if err := c.tell(ctx, nil, again); err != nil {
			return err
		}
		if err := c.tell(ctx, again, nil); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.ResetPeer(ctx, &api.ResetPeerRequest{Address: s.Remote.String(), Soft: true, Direction: api.ResetPeerRequest_OUT})
	if status.Code(err) == codes.Unknown {
		return nil // a peer that is not there is told later, by this policy
	}
	return err
}

// setPolicy sets a peer's part of the export policy.
func (c *client) setPolicy(ctx context.Context, s Session, except []netip.Prefix) error {
	next := exported{s, except}
	if reflect.DeepEqual(c.policies[s.Remote], next) {
		return nil
	}
	c.policies[s.Remote] = next
	return c.setPolicies(ctx)
}

// setPolicies sets what each peer is told: nothing that did not begin here, and with the MED, the prepending and the
// communities of its session. What peers tell stays in their own tables, and never gets into GoBGP's.
//
// These are policies of the whole server with a condition on the neighbour, as GoBGP applies a neighbour's own
// policies to clients of a route server only.
func (c *client) setPolicies(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r := &api.SetPoliciesRequest{}
	own := api.Conditions_ROUTE_TYPE_LOCAL
	out := &api.Policy{Name: exportPolicy}
	for _, addr := range slices.SortedFunc(maps.Keys(c.policies), netip.Addr.Compare) {
		e := c.policies[addr]
		peer, not := "peer-"+addr.String(), "not-"+addr.String()
		only := &api.MatchSet{Type: api.MatchSet_ANY, Name: peer}
		r.DefinedSets = append(r.DefinedSets, &api.DefinedSet{
			DefinedType: api.DefinedType_NEIGHBOR, Name: peer, List: []string{netip.PrefixFrom(addr, addr.BitLen()).String()},
		})
		if set := exactly(not, e.except, addr.Is6()); set != nil {
			r.DefinedSets = append(r.DefinedSets, set)
			out.Statements = append(out.Statements, &api.Statement{
				Name:       not,
				Conditions: &api.Conditions{NeighborSet: only, PrefixSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: not}},
				Actions:    &api.Actions{RouteAction: api.RouteAction_REJECT},
			})
		}
		out.Statements = append(out.Statements, &api.Statement{
			Name: peer, Conditions: &api.Conditions{NeighborSet: only, RouteType: own}, Actions: exportActions(e.session),
		})
	}
	in := &api.Policy{Name: importPolicy, Statements: []*api.Statement{{
		Name: "own", Conditions: &api.Conditions{RouteType: own}, Actions: &api.Actions{RouteAction: api.RouteAction_ACCEPT},
	}}}
	r.Policies = []*api.Policy{out, in}
	if _, err := c.api.SetPolicies(ctx, r); err != nil {
		return fmt.Errorf("policies: %w", err)
	}
	for direction, name := range map[api.PolicyDirection]string{
		api.PolicyDirection_IMPORT: importPolicy, api.PolicyDirection_EXPORT: exportPolicy,
	} {
		if _, err := c.api.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction, Policies: []*api.Policy{{Name: name}}, DefaultAction: api.RouteAction_REJECT,
		}}); err != nil {
			return fmt.Errorf("policies: %w", err)
		}
	}
	return nil
}

// exactly is a set of the prefixes of one family; nil without any, as GoBGP takes an empty set for all prefixes.
func exactly(name string, list []netip.Prefix, six bool) *api.DefinedSet {
	s := &api.DefinedSet{DefinedType: api.DefinedType_PREFIX, Name: name}
	for _, p := range list {
		if p.Addr().Is6() == six {
			n := uint32(p.Bits())
			s.Prefixes = append(s.Prefixes, &api.Prefix{IpPrefix: p.String(), MaskLengthMin: n, MaskLengthMax: n})
		}
	}
	if len(s.Prefixes) == 0 {
		return nil
	}
	return s
}

func exportActions(s Session) *api.Actions {
	a := &api.Actions{RouteAction: api.RouteAction_ACCEPT}
	if s.MED != 0 {
		a.Med = &api.MedAction{Type: api.MedAction_REPLACE, Value: int64(s.MED)}
	}
	if s.Prepend > 0 && !s.internal() { // with iBGP it would look like a loop
		a.AsPrepend = &api.AsPrependAction{Asn: s.LocalASN, Repeat: uint32(min(s.Prepend, 255))}
	}
	if len(s.Communities) > 0 {
		a.Community = &api.CommunityAction{Type: api.CommunityAction_ADD}
		for _, c := range s.Communities {
			a.Community.Communities = append(a.Community.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
		}
	}
	return a
}

// path is a route that we tell, in GoBGP's words. Its next hop is the address that the session has at this end.
func path(t Tell, withdraw bool) (*api.Path, error) {
	family, next := ipv4, "0.0.0.0"
	if t.Prefix.Addr().Is6() {
		family, next = ipv6, "::"
	}
	nlri, err := anypb.New(&api.IPAddressPrefix{PrefixLen: uint32(t.Prefix.Bits()), Prefix: t.Prefix.Addr().String()})
	if err != nil {
		return nil, err
	}
	p := &api.Path{Family: family, Nlri: nlri, IsWithdraw: withdraw}
	attributes := []proto.Message{&api.OriginAttribute{}, &api.NextHopAttribute{NextHop: next}}
	if len(t.Path) > 0 {
		as := &api.AsPathAttribute{}
		for rest := t.Path; len(rest) > 0; { // RFC 4271 section 4.3: a segment has at most 255
			n := min(len(rest), 255)
			as.Segments = append(as.Segments, &api.AsSegment{Type: api.AsSegment_AS_SEQUENCE, Numbers: rest[:n]})
			rest = rest[n:]
		}
		attributes = append(attributes, as)
	}
	for _, m := range attributes {
		a, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		p.Pattrs = append(p.Pattrs, a)
	}
	return p, nil
}
