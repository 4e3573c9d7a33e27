package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"vpngw/host"
	"vpngw/test/lab"
)

// The real child, as the daemon starts it: it runs as nobody of importance, holds little, does not tell the machine's
// name, and refuses what is not ours to ask.
func TestBGPChild(t *testing.T) {
	n := lab.Direct(t)
	n.Customer.Run("ip", "addr", "add", "169.254.99.1/30", "dev", "lo")
	program, err := os.Open(n.Binary()) // its directory is closed to the child's user
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	dir, err := os.MkdirTemp("", "vpngw-bgp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "bgp")
	socket := filepath.Join(dir, "hq.sock")
	var h *host.Host
	n.Customer.Do(func() { h, err = host.New(host.Config{}) })
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var log bytes.Buffer
	child, err := h.StartChild(host.ChildSpec{
		Program: fmt.Sprintf("/proc/self/fd/%d", program.Fd()), Dir: dir, Stderr: &log, Memory: 192 << 20,
		Args: []string{"bgpd", "--as", "65001", "--router-id", "169.254.99.1", "--listen", "169.254.99.1", "--socket", socket},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		child.Stop()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
		t.Log(log.String())
	}()
	conn, err := grpc.NewClient("passthrough:///child", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return child.Dial(ctx, socket) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	bgp := api.NewGobgpApiClient(conn)
	n.Await(lab.Patience, "the child speaks", func() (bool, string) {
		conn.ResetConnectBackoff()
		r, err := bgp.GetBgp(t.Context(), &api.GetBgpRequest{})
		return err == nil && r.Global.Asn == 65001, fmt.Sprint(err)
	})
	if _, err := bgp.EnableMrt(t.Context(), &api.EnableMrtRequest{Filename: "/tmp/x"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("EnableMrt: %v", err)
	}
	if stream, err := bgp.ListBmp(t.Context(), &api.ListBmpRequest{}); err != nil {
		t.Error(err)
	} else if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("ListBmp: %v", err)
	}
	if _, err := bgp.AddPeer(t.Context(), &api.AddPeerRequest{Peer: &api.Peer{
		Conf: &api.PeerConf{NeighborAddress: "169.254.99.1", PeerAsn: 65002}, Transport: &api.Transport{PassiveMode: true},
	}}); err != nil {
		t.Fatal(err)
	}
	peer := n.Customer.Speaker(lab.Speaking{ASN: 65002, Local: "169.254.99.1", Remote: "169.254.99.1"})
	if err := peer.Dial(lab.Patience); err != nil {
		t.Fatal(err)
	}
	n.Await(lab.Patience, "the child's OPEN", func() (bool, string) { return peer.PeersOpen() != nil, "" })
	open := peer.PeersOpen()
	name, err := os.Hostname()
	if err != nil || name == "" {
		t.Skip("this machine has no name")
	}
	if bytes.Contains(open, []byte(name)) {
		t.Errorf("OPEN tells %q: %q", name, open)
	}
	if !bytes.Contains(open, []byte{73, 2, 0, 0}) {
		t.Errorf("OPEN has no empty FQDN capability: %x", open)
	}

	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		var kB int
		switch {
		case strings.HasPrefix(line, "RssAnon:"):
			fmt.Sscanf(line, "RssAnon: %d kB", &kB)
			t.Logf("an idle child holds %d kB", kB)
			if kB > 5<<10 && os.Getenv("RACE") == "" {
				t.Errorf("an idle child holds %d kB", kB)
			}
		case strings.HasPrefix(line, "CapEff:"), strings.HasPrefix(line, "Uid:"), strings.HasPrefix(line, "Seccomp:"):
			t.Log(line)
		}
	}
	if os.Getenv("GOBGP") != "" { // a trial by hand
		for _, args := range []string{"global", "neighbor", "global rib", "neighbor 169.254.99.1", "mrt inject global /etc/passwd", "global del all"} {
			out, err := n.Customer.Try(os.Getenv("GOBGP"), append([]string{"--target", "unix://" + socket}, strings.Fields(args)...)...)
			t.Logf("gobgp %s: %v\n%s", args, err, out)
		}
	}
}
