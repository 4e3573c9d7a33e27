package bgp

import (
	"context"
	"fmt"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The names of the policies that GoBGP has from us.
const (
	exportPolicy = "vpngw-out"
	importPolicy = "vpngw-in"
)

// setPolicies sets what each peer is told of what is told: nothing that did not begin here, and with the MED, the
// prepending and the communities of its session. GoBGP keeps what peers tell out of its table, as it has it in the
// peers' own tables.
//
// These are policies of the whole server with a condition on the neighbour, as GoBGP applies a neighbour's own
// policies to clients of a route server only.
func (c *client) setPolicies(ctx context.Context, sessions []Session) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r := &api.SetPoliciesRequest{}
	p := &api.Policy{Name: exportPolicy}
	for _, s := range sessions {
		set := "peer-" + s.Remote.String()
		bits := s.Remote.BitLen()
		r.DefinedSets = append(r.DefinedSets, &api.DefinedSet{
			DefinedType: api.DefinedType_NEIGHBOR, Name: set, List: []string{fmt.Sprintf("%s/%d", s.Remote, bits)},
		})
		p.Statements = append(p.Statements, &api.Statement{
			Name: set,
			Conditions: &api.Conditions{
				NeighborSet: &api.MatchSet{Type: api.MatchSet_ANY, Name: set},
				RouteType:   api.Conditions_ROUTE_TYPE_LOCAL,
			},
			Actions: exportActions(s),
		})
	}
	own := &api.Policy{Name: importPolicy, Statements: []*api.Statement{{
		Name:       "own",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
	}}}
	r.Policies = []*api.Policy{p, own}
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

// refresh sends a peer what it is told anew, by the policies of now.
func (c *client) refresh(ctx context.Context, s Session) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.ResetPeer(ctx, &api.ResetPeerRequest{Address: s.Remote.String(), Soft: true, Direction: api.ResetPeerRequest_OUT})
	return err
}

func exportActions(s Session) *api.Actions {
	a := &api.Actions{RouteAction: api.RouteAction_ACCEPT}
	if s.MED != 0 {
		a.Med = &api.MedAction{Type: api.MedAction_REPLACE, Value: int64(s.MED)}
	}
	if s.Prepend > 0 && s.LocalASN != s.RemoteASN { // with iBGP it would look like a loop
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
