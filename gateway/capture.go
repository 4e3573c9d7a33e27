package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpngw/capture"
	"vpngw/host"
)

// CaptureRequest says what a capture records.
type CaptureRequest struct {
	Name         string
	For          time.Duration
	Count        int // packets; 0: any number
	Snaplen      int // bytes of each packet
	Inner, Outer bool
}

// Captured counts the packets of a capture.
type Captured struct {
	Packets uint64 `json:"packets"`
	Dropped uint64 `json:"dropped"` // because the reader was slow
}

// Capture writes the packets of a connection or tunnel to w as a pcapng file: the outer ones, which are IKE and ESP of its
// peers, and the inner ones, which go into its device and come out of it. It returns when the time or the number is
// reached or ctx ends, and then the file is whole. Nothing is written before an error that refuses it.
//
// The kernel's taps show the packets (host.Tap), so the data plane does nothing for it, and packets beyond what the reader takes are
// dropped in the kernel, and counted.
func (g *Gateway) Capture(ctx context.Context, r CaptureRequest, w io.Writer) (Captured, error) {
	c := capturing{g: g, request: r, out: bufio.NewWriterSize(w, 1<<17)}
	err := g.call(ctx, func(now time.Time) error {
		x, hit, err := g.expose(now, Packets, r.Name, r.For)
		if err != nil {
			return err
		}
		c.exposure = x
		c.plan(hit)
		return nil
	})
	if err != nil {
		return Captured{}, err
	}
	defer g.conceal(c.exposure)
	var sources []host.TapSource
	var interfaces []capture.Interface
	for _, s := range c.sources {
		sources = append(sources, s.TapSource)
		interfaces = append(interfaces, s.Interface)
	}
	if c.tap, err = g.Host.Tap(sources); err != nil {
		return Captured{}, fmt.Errorf("capture of %s: %w", r.Name, err)
	}
	defer c.tap.Close()
	if c.file, err = capture.NewWriter(c.out, "vpngw", r.Snaplen, interfaces); err != nil {
		return Captured{}, err
	}
	if err := c.run(ctx); err != nil {
		return c.counted, err
	}
	return c.counted, c.finish()
}

// capturing is a capture under way.
type capturing struct {
	g        *Gateway
	request  CaptureRequest
	exposure *exposure
	sources  []captureSource
	tap      Tap
	out      *bufio.Writer
	file     *capture.Writer
	counted  Captured
	written  []uint64 // by source
	err      error
}

// captureSource is one interface of the file.
type captureSource struct {
	host.TapSource
	capture.Interface
	tunnel string
}

// plan chooses the interfaces: of tunnels with the same peer the first has the outer one.
func (c *capturing) plan(hit []*entry) {
	var seen []netip.Addr
	for _, e := range hit {
		name := func(what string) string {
			if len(hit) > 1 {
				return what + " " + e.tunnel.Name
			}
			return what
		}
		if c.request.Outer {
			all := c.g.peersOf(e)
			own := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return slices.Contains(seen, a) })
			if seen = append(seen, own...); len(own) > 0 || len(all) == 0 {
				var text []string
				for _, a := range own {
					text = append(text, a.String())
				}
				c.sources = append(c.sources, captureSource{
					host.TapSource{Peers: own}, capture.Interface{Name: name("outer"), Description: "IKE and ESP with " + strings.Join(text, ", ")}, e.tunnel.Name,
				})
			}
		}
		if c.request.Inner {
			c.sources = append(c.sources, captureSource{
				host.TapSource{Device: e.device}, capture.Interface{Name: name("inner"), Description: "device " + e.device + " of tunnel " + e.tunnel.Name}, e.tunnel.Name,
			})
		}
	}
	c.written = make([]uint64, len(c.sources))
}

// peersOf are the outer addresses that a tunnel's peer has or should have.
func (g *Gateway) peersOf(e *entry) []netip.Addr {
	var out []netip.Addr
	add := func(a netip.Addr) {
		if a = a.Unmap().WithZone(""); a.IsValid() && !a.IsUnspecified() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	add(e.tunnel.Remote.Address)
	if i, ok := g.ike.Tunnel(e.tunnel.Name); ok && i.IKE != nil {
		add(i.IKE.Remote.Addr())
	}
	for _, in := range g.data.byTunnel[e.tunnel.Name] {
		add(in.path.Remote.Addr())
	}
	return out
}

const (
	captureWait = 100 * time.Millisecond // until a capture looks whether it should end
	captureAim  = time.Second            // until it asks for the peers' addresses and routes again
)

// run records until the end is reached.
func (c *capturing) run(ctx context.Context) error {
	aimed := time.Now()
	for ctx.Err() == nil && c.more() {
		now := time.Now()
		if !now.Before(c.exposure.until) {
			break
		}
		if now.Sub(aimed) >= captureAim {
			aimed = now
			if err := c.aim(ctx); err != nil {
				break // the daemon ends
			}
		}
		if err := c.read(min(captureWait, c.exposure.until.Sub(now))); err != nil {
			return err
		}
	}
	// What waits in the kernel came before the end.
	end := time.Now()
	for before := c.counted.Packets; c.more(); before = c.counted.Packets {
		if err := c.read(0); err != nil {
			return err
		}
		if c.counted.Packets == before || time.Since(end) > time.Second {
			break
		}
	}
	return nil
}

func (c *capturing) more() bool {
	return c.request.Count == 0 || c.counted.Packets < uint64(c.request.Count)
}

// read records what has come.
func (c *capturing) read(wait time.Duration) error {
	err := c.tap.Read(max(wait, 0), func(t host.Tapped) {
		if c.sources[t.Source].Device == "" && !host.Underlay(t.Data) {
			return
		}
		capture.ParseSuper(t.Super, t.Network).Cut(t.Data, func(packet []byte) {
			if c.err != nil || !c.more() {
				return
			}
			c.err = c.file.Write(capture.Packet{Interface: t.Source, At: t.At, Out: t.Out, Data: packet})
			c.counted.Packets++
			c.written[t.Source]++
		})
	})
	if c.err == nil {
		c.err = err
	}
	if c.err == nil {
		c.err = c.out.Flush()
	}
	return c.err
}

// aim follows peers that move, and devices that are made again.
func (c *capturing) aim(ctx context.Context) error {
	peers := make([][]netip.Addr, len(c.sources))
	err := c.g.call(ctx, func(time.Time) error {
		var seen []netip.Addr
		for i, s := range c.sources {
			e := c.g.fleet.byName[s.tunnel]
			if e == nil || s.Device != "" {
				continue
			}
			peers[i] = slices.DeleteFunc(c.g.peersOf(e), func(a netip.Addr) bool { return slices.Contains(seen, a) })
			seen = append(seen, peers[i]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range c.sources {
		if err := c.tap.Aim(i, peers[i]); err != nil {
			c.g.Log.Debug("capture", "interface", c.sources[i].Name, "err", err)
		}
	}
	return nil
}

// finish writes how many packets there were.
func (c *capturing) finish() error {
	now := time.Now()
	for i, n := range c.tap.Stats() {
		c.counted.Dropped += n.Dropped
		if err := c.file.Statistics(now, i, c.written[i]+n.Dropped, n.Dropped); err != nil {
			return err
		}
	}
	return c.out.Flush()
}
