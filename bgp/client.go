package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// Bounds of what we ask of a child and take from it.
const (
	askTimeout  = time.Second     // for a sign of life
	callTimeout = 5 * time.Second // for anything else
	dialTimeout = 5 * time.Second // from the child's start until it listens

	// maxMessage bounds a message of the child's, in bytes. A batch of watchBatch routes with all the attributes that an
	// UPDATE can hold is smaller.
	maxMessage = 16 << 20
	watchBatch = 200
	tellBatch  = 500

	// prefixBackstop ends a session in the child, far above what any configuration accepts; maxRoutes is how many
	// prefixes the child may hand on from all its peers.
	prefixBackstop = 150_000
	maxRoutes      = 200_000

	// maxSessions is more than a group has.
	maxSessions = 64

	// restartTime is how long a peer keeps our routes when the child has died (RFC 4724), and restartDeferral how
	// long a new child waits for the peer's routes before it tells its own, both in seconds.
	restartTime     = 30
	restartDeferral = 1

	familyIPv4, familyIPv6 = 0, 1 // GoBGP's numbers in Global.Families
)

var (
	ipv4 = &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	ipv6 = &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
)

// errKeyStays says that a new child is needed: GoBGP leaves the password of a deleted peer on its listener, and there
// is no way to take it off.
var errKeyStays = errors.New("the session has no password any more, but the process's listener has")

// client speaks to one child. It decides nothing. Not safe for concurrent use, but for watch.
type client struct {
	conn  *grpc.ClientConn
	api   api.GobgpApiClient
	keyed map[netip.Addr]bool // whose password the listener has
	// policies are the parts of the export policy, and told is what peers are told by them.
	policies map[netip.Addr]exported
	told     map[netip.Prefix]Tell
}

// dial connects to a child and waits until it speaks BGP as the AS it was started for.
func dial(ctx context.Context, asn uint32, connect func(context.Context) (net.Conn, error)) (*client, error) {
	conn, err := grpc.NewClient(
		"passthrough:///child",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return connect(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, err
	}
	c := &client{
		conn: conn, api: api.NewGobgpApiClient(conn), keyed: make(map[netip.Addr]bool),
		policies: make(map[netip.Addr]exported), told: make(map[netip.Prefix]Tell),
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		r, err := c.api.GetBgp(ctx, &api.GetBgpRequest{})
		if err == nil && r.GetGlobal().GetAsn() == asn {
			return c, nil
		}
		conn.ResetConnectBackoff()
		select {
		case <-ctx.Done():
			conn.Close()
			if err == nil {
				err = ctx.Err()
			}
			return nil, fmt.Errorf("the BGP process does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *client) close() { c.conn.Close() }

// ask asks for a sign of life.
func (c *client) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := c.api.GetBgp(ctx, &api.GetBgpRequest{})
	return err
}

// addPeer begins a session. Except is what others are told and this peer is not. restarting says that the child
// follows one that died, so that the peer keeps our routes.
func (c *client) addPeer(ctx context.Context, s Session, except []netip.Prefix, restarting bool) error {
	if len(s.AuthKey) == 0 && c.keyed[s.Remote] {
		return errKeyStays
	}
	if err := c.setPolicy(ctx, s, except); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := c.api.AddPeer(ctx, &api.AddPeerRequest{Peer: peer(s, restarting)}); err != nil {
		return err
	}
	if len(s.AuthKey) > 0 {
		c.keyed[s.Remote] = true
	}
	return nil
}

// peer is a Session in GoBGP's words.
func peer(s Session, restarting bool) *api.Peer {
	p := &api.Peer{
		Conf: &api.PeerConf{
			NeighborAddress: s.Remote.String(), PeerAsn: s.RemoteASN, LocalAsn: s.LocalASN,
			AuthPassword: string(s.AuthKey), Description: s.Tunnel,
		},
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry: 1, IdleHoldTimeAfterReset: 1,
			HoldTime: uint64(s.Hold / time.Second), KeepaliveInterval: uint64(s.Keepalive / time.Second),
		}},
		Transport: &api.Transport{LocalAddress: s.Local.String(), PassiveMode: s.Passive},
	}
	if s.TTLSecurity {
		p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 255}
	}
	if s.Graceful {
		p.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: restartTime, DeferralTime: restartDeferral, LocalRestarting: restarting,
		}
	}
	family := ipv4
	if s.Remote.Is6() {
		family = ipv6
	}
	p.AfiSafis = []*api.AfiSafi{{
		Config:            &api.AfiSafiConfig{Family: family, Enabled: true},
		MpGracefulRestart: &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: s.Graceful}},
		PrefixLimits:      &api.PrefixLimit{Family: family, MaxPrefixes: prefixBackstop},
	}}
	return p
}

// deletePeer ends a session; the peer is told.
func (c *client) deletePeer(ctx context.Context, s Session) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.api.DeletePeer(ctx, &api.DeletePeerRequest{Address: s.Remote.String()})
	if status.Code(err) == codes.Unknown {
		return nil // there is none
	}
	return err
}

// agreed returns the hold time that a session has agreed on, and for how long the peer asks to keep its routes while it
// restarts.
func (c *client) agreed(ctx context.Context, neighbour netip.Addr) (hold, restart time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := c.api.ListPeer(ctx, &api.ListPeerRequest{Address: neighbour.String()})
	if err != nil {
		return 0, 0, err
	}
	r, err := stream.Recv()
	if err != nil {
		return 0, 0, err
	}
	p := r.GetPeer()
	seconds := func(n uint64) time.Duration { return time.Duration(min(n, 65535)) * time.Second }
	if p.GetGracefulRestart().GetEnabled() {
		restart = seconds(uint64(p.GetGracefulRestart().GetPeerRestartTime()))
	}
	return seconds(p.GetTimers().GetState().GetNegotiatedHoldTime()), restart, nil
}

// tell adds routes to what all peers are told, and takes routes away.
func (c *client) tell(ctx context.Context, add, withdraw []Tell) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := c.api.AddPathStream(ctx)
	if err != nil {
		return err
	}
	send := func(list []Tell, withdraw bool) error {
		for len(list) > 0 {
			n := min(len(list), tellBatch)
			r := &api.AddPathStreamRequest{TableType: api.TableType_GLOBAL, Paths: make([]*api.Path, 0, n)}
			for _, t := range list[:n] {
				if slices.Contains(t.Path, 0) {
					continue // the members of an AS_SET are not known here; RFC 9774 has it that nobody tells one
				}
				p, err := path(t, withdraw)
				if err != nil {
					return err
				}
				r.Paths = append(r.Paths, p)
			}
			if err := stream.Send(r); err != nil {
				return err
			}
			list = list[n:]
		}
		return nil
	}
	if err := errors.Join(send(withdraw, true), send(add, false)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err = stream.CloseAndRecv(); err != nil { // it has the reason for an io.EOF
		return err
	}
	for _, t := range withdraw {
		delete(c.told, t.Prefix)
	}
	for _, t := range add {
		c.told[t.Prefix] = t
	}
	return nil
}

// watched is what a watch tells at once.
type watched struct {
	peer      *peerIs
	neighbour netip.Addr // of peer
	routes    []told
	ends      []endOfRIB
}

// watch hands on what happens to sessions and routes until ctx ends, the child fails, or it sends more than a child may. It
// closes ready when nothing that begins from then on is missed.
func (c *client) watch(ctx context.Context, sessions func(netip.Addr) (tunnel string, ok bool), ready chan<- struct{}, each func(watched)) error {
	stream, err := c.api.WatchEvent(ctx, &api.WatchEventRequest{
		Peer: &api.WatchEventRequest_Peer{},
		Table: &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{
			{Type: api.WatchEventRequest_Table_Filter_ADJIN}, {Type: api.WatchEventRequest_Table_Filter_EOR},
		}},
		BatchSize: watchBatch,
	})
	if err != nil {
		return err
	}
	count := make(counts)
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		var w watched
		switch e := r.GetEvent().(type) {
		case *api.WatchEventResponse_Peer:
			if e.Peer.GetType() == api.WatchEventResponse_PeerEvent_END_OF_INIT && ready != nil {
				close(ready)
				ready = nil
			}
			w.peer, w.neighbour = peerEvent(e.Peer, sessions)
			if w.peer != nil && w.peer.state != Established {
				delete(count, w.peer.tunnel)
			}
		case *api.WatchEventResponse_Table:
			w.routes, w.ends = tableEvent(e.Table.GetPaths(), sessions)
			for _, t := range w.routes {
				if !count.add(t) {
					return fmt.Errorf("the BGP process tells more than %d routes", maxRoutes)
				}
			}
		}
		if w.peer != nil || len(w.routes) > 0 || len(w.ends) > 0 {
			each(w)
		}
	}
}

// counts are the prefixes that each tunnel's peer has told.
type counts map[string]map[netip.Prefix]struct{}

// add counts routes; it reports whether there are not too many.
func (c counts) add(t told) bool {
	m := c[t.tunnel]
	if m == nil {
		m = make(map[netip.Prefix]struct{})
		c[t.tunnel] = m
	}
	for _, r := range t.routes {
		if r.Withdrawn {
			delete(m, r.Prefix)
		} else {
			m[r.Prefix] = struct{}{}
		}
	}
	n := 0
	for _, m := range c {
		n += len(m)
	}
	return n <= maxRoutes
}

func peerEvent(e *api.WatchEventResponse_PeerEvent, sessions func(netip.Addr) (string, bool)) (*peerIs, netip.Addr) {
	addr, err := netip.ParseAddr(e.GetPeer().GetState().GetNeighborAddress())
	if err != nil {
		return nil, addr
	}
	tunnel, ok := sessions(addr)
	if !ok {
		return nil, addr
	}
	state := Idle
	switch e.GetPeer().GetState().GetSessionState() {
	case api.PeerState_CONNECT, api.PeerState_ACTIVE:
		state = Connecting
	case api.PeerState_OPENSENT, api.PeerState_OPENCONFIRM:
		state = Opening
	case api.PeerState_ESTABLISHED:
		state = Established
	}
	return &peerIs{tunnel: tunnel, state: state}, addr
}

// tableEvent sorts routes by the tunnel they came through, in their order.
func tableEvent(paths []*api.Path, sessions func(netip.Addr) (string, bool)) (routes []told, ends []endOfRIB) {
	for _, p := range paths {
		if from, ok := endOf(p); ok {
			if tunnel, ok := sessions(from); ok {
				ends = append(ends, endOfRIB{tunnel})
			}
			continue
		}
		t, from, ok := decode(p)
		if !ok {
			continue
		}
		tunnel, ok := sessions(from)
		if !ok {
			continue
		}
		if n := len(routes); n == 0 || routes[n-1].tunnel != tunnel {
			routes = append(routes, told{tunnel: tunnel})
		}
		last := &routes[len(routes)-1]
		last.routes = append(last.routes, t)
	}
	return routes, ends
}
