package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vpngw/capture"
	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/gateway"
)

func newCapture(s *settings) *cobra.Command {
	var path string
	var noKeys bool
	r := gateway.CaptureRequest{}
	cmd := &cobra.Command{
		Use:   "capture NAME",
		Short: "Record a tunnel's packets, outer and inner, with the keys",
		Long: `Capture records the packets of a connection or tunnel into a new pcapng file with two
interfaces: "outer" are IKE and ESP from and to the peer's address, as they are on the
wire, and "inner" what goes into the tunnel's device and what comes out of it. Of a
connection with two tunnels each has its own. The keys go into a directory beside it,
FILE.keys, as "vpngw keylog" writes them: "WIRESHARK_CONFIG_DIR=FILE.keys wireshark FILE"
shows both in clear. THE FILE HAS THE TUNNEL'S TRAFFIC IN CLEAR, even with --no-keys,
unless --outer is given: it is for root and the user that the daemon runs as alone.

The kernel shows the packets, so a tunnel is as fast as ever while nobody captures. What
offloads join is cut as it is on the wire. Packets that do not pass the device are on the
outer interface only: pings of the health check, BFD, and what the daemon answers itself.
On the inner interface a packet is as this host sends it, before the tunnel clamps the MSS
of a TCP SYN, and also if the tunnel drops it.

It ends with the time of --for, the number of --count, or ^C. What a slow disk or reader
loses is counted, and said at the end. With "-o -" the file goes to standard output,
without keys.`,
		Example: `  vpngw capture hq                                  30 s, into hq.pcapng and hq.pcapng.keys
  vpngw capture hq-1 -o /root/c.pcapng --for 5m --snaplen 128
  vpngw capture hq --outer -o - | tshark -r -`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFor(r.For, control.MaxExposure); err != nil {
				return err
			}
			if r.Count < 0 {
				return &usageError{fmt.Errorf("--count is %d; it cannot be negative", r.Count)}
			}
			if r.Snaplen < 64 || r.Snaplen > capture.MaxSnaplen {
				return &usageError{fmt.Errorf("--snaplen is %d; it can be from 64 to %d", r.Snaplen, capture.MaxSnaplen)}
			}
			if r.Name = args[0]; path == "" {
				path = fileName(r.Name) + ".pcapng"
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			c, stderr := control.NewClient(s.control), cmd.ErrOrStderr()
			if path == "-" {
				return record(ctx, c, r, cmd.OutOrStdout(), stderr, "standard output")
			}
			return captureTo(ctx, c, r, path, noKeys, stderr)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&path, "out", "o", "", "the new `file`; NAME.pcapng without it, - is standard output")
	f.DurationVar(&r.For, "for", 30*time.Second, "how `long`, at most 24h")
	f.IntVar(&r.Count, "count", 0, "end after this `number` of packets; 0: do not")
	f.IntVar(&r.Snaplen, "snaplen", capture.MaxSnaplen, "record at most so many `bytes` of each packet")
	f.BoolVar(&r.Inner, "inner", false, "record the inner packets only")
	f.BoolVar(&r.Outer, "outer", false, "record the outer packets only")
	f.BoolVar(&noKeys, "no-keys", false, "write no keys")
	return cmd
}

// captureTo records into a new file, with the keys in a directory beside it. Where nothing was recorded, neither stays.
func captureTo(ctx context.Context, c *control.Client, r gateway.CaptureRequest, path string, noKeys bool, stderr io.Writer) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: a capture goes to a new file; name another with -o", path)
	} else if err != nil {
		return err
	}
	endKeys := func() error { return nil }
	if !noKeys {
		during := min(r.For+time.Minute, control.MaxExposure)
		if endKeys, err = beside(context.WithoutCancel(ctx), c, r.Name, path+".keys", during, stderr); err != nil {
			return errors.Join(err, file.Close(), os.Remove(path))
		}
	}
	err = record(ctx, c, r, file, stderr, path)
	if e := endKeys(); err == nil {
		err = e
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if info, e := os.Stat(path); err != nil && e == nil && info.Size() == 0 {
		os.Remove(path)
	}
	return err
}

// record records to w, which is called where.
func record(ctx context.Context, c *control.Client, r gateway.CaptureRequest, w io.Writer, stderr io.Writer, where string) error {
	if r.Inner || !r.Outer {
		fmt.Fprintf(stderr, "WARNING: for %v at most, %s gets the packets of %s in clear\n", r.For, where, show.Plain(r.Name))
	}
	n, err := c.Capture(ctx, r, w)
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "%d packets recorded, %d dropped\n", n.Packets, n.Dropped)
	return nil
}
