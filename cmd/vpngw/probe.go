package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vpngw/cmd/vpngw/show"
	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/control"
	"vpngw/diag"
	"vpngw/host"
	"vpngw/ipsec"
	"vpngw/resolve"
	"vpngw/tryout"
)

func newProbe(s *settings) *cobra.Command {
	var o probeFlags
	cmd := &cobra.Command{
		Use:   "probe ADDRESS|NAME --psk-file FILE",
		Short: "Find out what a peer takes, and write that part of a body",
		Long: `Probe speaks IKE with a peer as a connection would, and offers much: IKEv2 first, then
IKEv1 in main mode. It makes at most 8 attempts, one after the other, and stops when the
peer refuses the identity, the key or the networks, when it is up, or when nothing answers.
What came up is deleted at once. It then writes the part of a native body that works.
A name is looked up, and the next of its addresses is tried where one does not answer.

Probe only a peer whose owner allows it: each attempt is in its log. The peer must know
this host's address, the identities and the key; a tunnel that is up with the same
identities may be replaced, so probe refuses while the daemon here has one with that address.

Probe needs no root and no configuration, changes nothing on this host, and carries no
packet. It sends from a port of its own, so the peer sees a NAT. Aggressive mode shows a
hash of the key to whoever listens: only --aggressive tries it.`,
		Example: `  vpngw probe 198.51.100.1 --psk-file /etc/vpngw/hq.psk
  vpngw probe 198.51.100.1 --psk-file hq.psk --local-subnets 192.168.3.0/24 --ike-version 2`,
		Args: one("address or name of a peer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.config()
			if err != nil {
				return err
			}
			var tried []tryout.Config
			name, addrs, err := peerOf(cmd.Context(), args[0], resolve.System)
			for _, a := range addrs {
				at, unreachable := o.at(c, name, a)
				if unreachable != nil {
					err = unreachable // there may be a route to another address
					continue
				}
				tried = append(tried, at)
			}
			if len(tried) == 0 {
				return err
			}
			if err := alone(cmd.Context(), s, tried); err != nil {
				return err
			}
			return probe(cmd, tried)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.psk, "psk-file", "", "the `file` with the pre-shared key")
	f.StringVar(&o.localID, "local-id", "", "this end's `identity`; its address by default")
	f.StringVar(&o.remoteID, "remote-id", "", "the peer's `identity`; its address by default")
	f.StringVar(&o.local, "local-subnets", "0.0.0.0/0", "this end's `networks`, separated by commas")
	f.StringVar(&o.remote, "remote-subnets", "0.0.0.0/0", "the peer's `networks`")
	f.IntVar(&o.version, "ike-version", 0, "try only this `version` of IKE")
	f.BoolVar(&o.aggressive, "aggressive", false, "try IKEv1 in aggressive mode in place of main mode")
	return cmd
}

type probeFlags struct {
	psk, localID, remoteID, local, remote string
	version                               int
	aggressive                            bool
}

// config checks the flags and reads the key.
func (o *probeFlags) config() (c tryout.Config, err error) {
	usage := func(format string, args ...any) (tryout.Config, error) {
		return c, &usageError{fmt.Errorf(format, args...)}
	}
	switch {
	case o.psk == "":
		return usage("which key? name its file with --psk-file FILE")
	case o.version < 0 || o.version > 2:
		return usage("--ike-version is %d; it can be 1 or 2", o.version)
	}
	for _, n := range []struct {
		flag, text string
		to         *[]netip.Prefix
	}{{"--local-subnets", o.local, &c.Local.Subnets}, {"--remote-subnets", o.remote, &c.Remote.Subnets}} {
		for text := range strings.SplitSeq(n.text, ",") {
			p, err := netip.ParsePrefix(strings.TrimSpace(text))
			if err != nil || p != p.Masked() {
				return usage("%s: %q is no network, such as 192.168.3.0/24", n.flag, text)
			}
			*n.to = append(*n.to, p)
		}
	}
	var said []string
	if c.PSK, said, err = load.Key(o.psk); err != nil {
		return c, err
	}
	for _, s := range said {
		fmt.Fprintln(os.Stderr, "vpngw: "+s)
	}
	c.Version, c.Aggressive = o.version, o.aggressive
	if o.aggressive {
		c.Version = 1
	}
	return c, nil
}

// at is c for one address of a peer. The routes say this end's address.
func (o *probeFlags) at(c tryout.Config, name string, a netip.Addr) (tryout.Config, error) {
	to, err := net.Dial("udp", netip.AddrPortFrom(a, host.PortIKE).String())
	if err != nil {
		return c, err
	}
	defer to.Close()
	c.Local.Address, c.Remote.Address, c.Remote.Host = to.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), a, name
	c.Local.ID, c.Remote.ID = identity(o.localID, c.Local.Address), identity(o.remoteID, a)
	return c, nil
}

// peerOf are the addresses of a peer, and its name if text is one.
func peerOf(ctx context.Context, text string, lookup resolve.Lookup) (string, []netip.Addr, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return "", []netip.Addr{a.Unmap()}, nil
	}
	name, ok := dialect.ParseHostName(text)
	if !ok {
		return "", nil, &usageError{fmt.Errorf("%q is neither an address nor a name of a host", text)}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	addrs, _, err := lookup(ctx, name)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("%s: %w", name, err)
	case len(addrs) == 0:
		return "", nil, fmt.Errorf("%s has no address that a host can have", name)
	}
	return name, addrs, nil
}

func identity(text string, a netip.Addr) ipsec.Identity {
	return ipsec.ParseIdentity(cmp.Or(text, a.String()))
}

// alone refuses while this host's daemon has an IKE SA with the peer: the peer may take a probe for a restart.
func alone(ctx context.Context, s *settings, tried []tryout.Config) error {
	st, err := control.NewClient(s.control).Status(ctx)
	if err != nil {
		return nil // there is no daemon, or we may not ask it
	}
	peers := map[string]bool{}
	for _, c := range tried {
		peers[c.Remote.Address.String()] = true
	}
	for _, c := range st.Connections {
		for _, t := range c.Tunnels {
			if peers[t.Remote] && t.IKE != nil {
				return fmt.Errorf("tunnel %s has an IKE SA with %s, which a probe could end: take it down first (vpngw down %s)", show.Plain(t.Name), show.Plain(t.Remote), show.Plain(t.Name))
			}
		}
	}
	return nil
}

// probe tries the addresses of a peer until one answers.
func probe(cmd *cobra.Command, tried []tryout.Config) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	say := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), show.Plain(line)) }
	for i, c := range tried {
		if c.Remote.Host != "" {
			say(fmt.Sprintf("%s is %v, address %d of %d", c.Remote.Host, c.Remote.Address, i+1, len(tried)))
		}
		r, err := probeOne(ctx, c, say)
		if err != nil {
			return err
		}
		if r.Cause.Is(diag.NoAnswer) && !r.Answered && i+1 < len(tried) {
			continue
		}
		printProbe(cmd.OutOrStdout(), c, r)
		if !r.Cause.OK() {
			return fmt.Errorf("%v: %v", c.Remote.Address, show.Plain(r.Cause.String()))
		}
		return nil
	}
	return nil
}

func probeOne(ctx context.Context, c tryout.Config, say func(string)) (tryout.Result, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.Local.Address, 0)))
	if err != nil {
		return tryout.Result{}, err
	}
	defer conn.Close()
	return tryout.Run(ctx, c, conn, say)
}

// printProbe writes the part of a native body that is known.
func printProbe(w io.Writer, c tryout.Config, r tryout.Result) {
	fmt.Fprintf(w, "# found by vpngw probe of %s: %s, %s sent\n", cmp.Or(c.Remote.Host, c.Remote.Address.String()), show.Count(r.Attempts, "attempt"), show.Count(r.Sent, "packet"))
	if r.IKE.Encr.Type == 0 {
		return
	}
	fmt.Fprintf(w, "native:\n  ike_version: %d\n", r.Version)
	if r.Version == 1 && c.Aggressive {
		fmt.Fprintln(w, "  mode: aggressive")
	}
	for _, e := range []struct {
		name string
		end  config.End
		took []ipsec.Selector
	}{{"local", c.Local, r.Local}, {"remote", c.Remote, r.Remote}} {
		fmt.Fprintf(w, "  %s: {address: %v, id: %q", e.name, cmp.Or(e.end.Host, e.end.Address.String()), e.end.ID.String())
		if r.ESP.Encr.Type != 0 {
			var nets []string
			for _, s := range e.took {
				for _, p := range s.Prefixes() {
					nets = append(nets, p.String())
				}
			}
			fmt.Fprintf(w, ", subnets: [%s]", strings.Join(nets, ", "))
		}
		fmt.Fprintln(w, "}")
	}
	fmt.Fprintf(w, "  ike: {proposals: [%v]}\n", r.IKE)
	if r.ESP.Encr.Type != 0 {
		note := ""
		if !r.PFS {
			note = " # the peer refused a rekey with PFS and one without"
		}
		fmt.Fprintf(w, "  esp: {proposals: [%v]}%s\n", r.ESP, note)
	}
}
