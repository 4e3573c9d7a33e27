package bgp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Port is BGP's (RFC 4271).
const Port = 179

// Child is what the child process is started with: nothing secret, as every local user can read it.
type Child struct {
	ASN      uint32
	RouterID netip.Addr
	Listen   []netip.Addr // this end's addresses in the tunnels
	Socket   string       // of GoBGP's API
}

// args are the arguments of `vpngw bgpd` for c.
func (c Child) args() []string {
	listen := make([]string, len(c.Listen))
	for i, a := range c.Listen {
		listen[i] = a.String()
	}
	return []string{
		"bgpd", "--as", fmt.Sprint(c.ASN), "--router-id", c.RouterID.String(),
		"--listen", strings.Join(listen, ","), "--socket", c.Socket,
	}
}

// Serve is the child: GoBGP, until parent is closed. It writes its log to w. confine is called when the
// last file is open.
func (c Child) Serve(parent <-chan struct{}, w io.Writer, confine func() []error) error {
	if err := os.Remove(c.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log := &lineLog{w: w}
	s := server.NewBgpServer(
		server.LoggerOption(log),
		server.GrpcListenAddress("unix://"+c.Socket),
		server.GrpcOption([]grpc.ServerOption{
			grpc.ReadBufferSize(4096), grpc.WriteBufferSize(4096),
			grpc.UnaryInterceptor(func(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				if err := allowed(info.FullMethod); err != nil {
					return nil, err
				}
				return next(ctx, r)
			}),
			grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				if err := allowed(info.FullMethod); err != nil {
					return err
				}
				return next(srv, ss)
			}),
		}),
	)
	go s.Serve()
	if err := c.listening(); err != nil {
		return err
	}
	for _, err := range confine() {
		log.line("info", unconfined, record{Error: err.Error()})
	}
	g := &api.Global{Asn: c.ASN, RouterId: c.RouterID.String(), ListenPort: Port, Families: []uint32{familyIPv4, familyIPv6}}
	for _, a := range c.Listen {
		g.ListenAddresses = append(g.ListenAddresses, a.String())
	}
	if err := s.StartBgp(context.Background(), &api.StartBgpRequest{Global: g}); err != nil {
		return fmt.Errorf("listen on port %d: %w", Port, err)
	}
	go giveBack(parent)
	<-parent
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.StopBgp(context.Background(), &api.StopBgpRequest{}) // tells the peers
	}()
	select {
	case <-stopped:
	case <-time.After(time.Second):
	}
	return nil
}

// listening waits until the API's socket is there. GoBGP opens it in its own time.
func (c Child) listening() error {
	for range 1000 {
		conn, err := net.Dial("unix", c.Socket)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("nothing listens on %s", c.Socket)
}

// permitted are the methods of GoBGP's API that are ours to use, and those that the command gobgp looks with. All
// others are denied: they write files (EnableMrt), connect to other programs (AddBmp, AddRpki, EnableZebra), or
// stop the server.
var permitted = map[string]bool{
	"GetBgp": true, "WatchEvent": true,
	"AddPeer": true, "DeletePeer": true, "ListPeer": true, "ResetPeer": true, "ShutdownPeer": true, "EnablePeer": true, "DisablePeer": true,
	"AddPath": true, "DeletePath": true, "AddPathStream": true, "ListPath": true, "GetTable": true,
	"SetPolicies": true, "SetPolicyAssignment": true,
	"ListDefinedSet": true, "ListStatement": true, "ListPolicy": true, "ListPolicyAssignment": true,
	"ListPeerGroup": true, "ListDynamicNeighbor": true, "ListVrf": true, "ListRpki": true, "ListRpkiTable": true, "ListBmp": true,
}

func allowed(method string) error {
	name := method[strings.LastIndexByte(method, '/')+1:]
	if !permitted[name] {
		return status.Errorf(codes.PermissionDenied, "vpngw does not let %s through: its configuration file decides", name)
	}
	return nil
}

// giveBack returns memory to the system that is not needed any more: there may be a child for each of many connections, and most
// have little to do after their start.
func giveBack(parent <-chan struct{}) {
	const worth = 256 << 10
	free := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-parent:
			return
		case <-tick.C:
		}
		if metrics.Read(free); free[0].Value.Uint64() > worth {
			debug.FreeOSMemory()
		}
	}
}
