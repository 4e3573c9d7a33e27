package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// route is a path as the child hands it on.
func route(prefix string, bits uint32, attributes ...proto.Message) *api.Path {
	p := &api.Path{Family: ipv4, NeighborIp: "169.254.10.2", Nlri: packed(&api.IPAddressPrefix{Prefix: prefix, PrefixLen: bits})}
	if strings.Contains(prefix, ":") {
		p.Family = ipv6
	}
	for _, a := range attributes {
		p.Pattrs = append(p.Pattrs, packed(a))
	}
	return p
}

func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return a
}

func TestDecode(t *testing.T) {
	next := &api.NextHopAttribute{NextHop: "169.254.10.2"}
	many := make([]proto.Message, maxAttributes+1)
	for i := range many {
		many[i] = next
	}
	mapped := route("10.0.0.0", 24, next)
	mapped.Family = ipv6
	withdrawn := route("10.0.0.0", 8)
	withdrawn.IsWithdraw = true
	for name, tt := range map[string]struct {
		path *api.Path
		want string // empty: no route
	}{
		"all": {
			route("10.1.2.3", 16, next, &api.OriginAttribute{Origin: 2}, &api.MultiExitDiscAttribute{Med: 5}, &api.LocalPrefAttribute{LocalPref: 7},
				&api.CommunitiesAttribute{Communities: []uint32{9}}, &api.UnknownAttribute{Type: 99, Value: []byte("x")},
				&api.AsPathAttribute{Segments: []*api.AsSegment{
					{Type: api.AsSegment_AS_SEQUENCE, Numbers: []uint32{1, 4200000000}}, {Type: api.AsSegment_AS_SET, Numbers: []uint32{3, 4}},
				}}),
			"{Prefix:10.1.0.0/16 Next:169.254.10.2 Path:[1 4200000000 0] Origin:2 MED:5 LocalPref:7 Communities:[9] Withdrawn:false}",
		},
		"IPv6": {
			route("2001:db8::", 32, &api.MpReachNLRIAttribute{NextHops: []string{"fd00::2", "fe80::1"}}),
			"{Prefix:2001:db8::/32 Next:fd00::2 Path:[] Origin:0 MED:0 LocalPref:0 Communities:[] Withdrawn:false}",
		},
		"withdrawn":              {withdrawn, "{Prefix:10.0.0.0/8 Next:invalid IP Path:[] Origin:0 MED:0 LocalPref:0 Communities:[] Withdrawn:true}"},
		"without a next hop":     {route("10.0.0.0", 8), "{Prefix:10.0.0.0/8 Next:invalid IP Path:[] Origin:0 MED:0 LocalPref:0 Communities:[] Withdrawn:true}"},
		"a next hop of a link":   {route("10.0.0.0", 8, &api.NextHopAttribute{NextHop: "fe80::1%eth0"}), "{Prefix:10.0.0.0/8 Next:invalid IP Path:[] Origin:0 MED:0 LocalPref:0 Communities:[] Withdrawn:true}"},
		"too many attributes":    {route("10.0.0.0", 8, many...), "{Prefix:10.0.0.0/8 Next:invalid IP Path:[] Origin:0 MED:0 LocalPref:0 Communities:[] Withdrawn:true}"},
		"no such origin":         {route("10.0.0.0", 8, next, &api.OriginAttribute{Origin: 3}), "{Prefix:10.0.0.0/8 Next:invalid IP Path:[] Origin:0 MED:0 LocalPref:0 Communities:[] Withdrawn:true}"},
		"too long a prefix":      {route("10.0.0.0", 33, next), ""},
		"no prefix":              {route("nonsense", 8, next), ""},
		"nothing":                {&api.Path{}, ""},
		"IPv4 in IPv6's clothes": {mapped, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, from, ok := decode(tt.path)
			if !ok {
				if tt.want != "" {
					t.Error("no route")
				}
				return
			}
			if s := fmt.Sprintf("%+v", got); s != tt.want {
				t.Errorf("got\n %s, want\n %s", s, tt.want)
			}
			if from != netip.MustParseAddr("169.254.10.2") {
				t.Errorf("from %v", from)
			}
		})
	}
}

func TestDecodeBoundsPath(t *testing.T) {
	p := route("10.0.0.0", 8, &api.NextHopAttribute{NextHop: "169.254.10.2"}, &api.AsPathAttribute{Segments: []*api.AsSegment{
		{Type: api.AsSegment_AS_SEQUENCE, Numbers: slices.Repeat([]uint32{1}, maxNumbers)}, {Type: api.AsSegment_AS_SET},
	}})
	if got, _, ok := decode(p); !ok || !got.Withdrawn {
		t.Errorf("got %v, %v; want a withdrawal", got.Withdrawn, ok)
	}
}

// Whatever the child sends, it is a route within bounds or none.
func FuzzDecode(f *testing.F) {
	for _, p := range []*api.Path{
		route("10.1.2.3", 16, &api.NextHopAttribute{NextHop: "169.254.10.2"}, &api.AsPathAttribute{Segments: []*api.AsSegment{{Type: 2, Numbers: []uint32{1}}}}),
		route("2001:db8::", 32, &api.MpReachNLRIAttribute{NextHops: []string{"fd00::2"}}),
		{NeighborIp: "169.254.10.2"},
	} {
		b, err := proto.Marshal(&api.WatchEventResponse{Event: &api.WatchEventResponse_Table{Table: &api.WatchEventResponse_TableEvent{Paths: []*api.Path{p, nil}}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	sessions := func(a netip.Addr) (string, bool) { return a.String(), a.Is4() }
	f.Fuzz(func(t *testing.T, b []byte) {
		var r api.WatchEventResponse
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		peerEvent(r.GetPeer(), sessions)
		routes, _ := tableEvent(r.GetTable().GetPaths(), sessions)
		for _, list := range routes {
			for _, r := range list.routes {
				if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Zone() != "" {
					t.Errorf("prefix %v", r.Prefix)
				}
				if !r.Withdrawn && !r.Next.IsValid() || len(r.Path) > maxNumbers || len(r.Communities) > maxCommunities || r.Origin > 2 {
					t.Errorf("route %v", r)
				}
			}
		}
	})
}
