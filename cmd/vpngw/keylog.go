package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vpngw/capture"
	"vpngw/cmd/vpngw/show"
	"vpngw/control"
	"vpngw/gateway"
)

func newKeylog(s *settings) *cobra.Command {
	var dir string
	var during time.Duration
	cmd := &cobra.Command{
		Use:   "keylog NAME",
		Short: "Write down a tunnel's keys, for Wireshark",
		Long: `Keylog writes the keys of a connection or tunnel into a new directory, as Wireshark's
tables ikev1_decryption_table, ikev2_decryption_table and esp_sa: the keys of the present
IKE SAs and Child SAs, and each new one until the time of --for is over or it is
interrupted. WHO HAS THESE FILES CAN READ ALL THAT THE TUNNEL CARRIES. Only root and the
user that the daemon runs as may ask for keys; the files are theirs alone (0600). While
it runs the log, an event and "vpngw status" say so. A restart of the daemon ends it.

The directory is a Wireshark profile too, and a configuration directory of Wireshark's:
"WIRESHARK_CONFIG_DIR=DIR wireshark FILE" reads a file with it.

Wireshark needs the begin of an ISAKMP SA of IKEv1 to read the rest: where it began before
the capture, "vpngw rekey --ike NAME" makes a new one. "vpngw capture" writes packets
and keys at once.`,
		Example: `  vpngw keylog hq                    into hq.keys, for 10 minutes
  vpngw keylog hq-1 -o /root/k --for 1h`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFor(during, control.MaxExposure); err != nil {
				return err
			}
			if dir == "" {
				dir = fileName(args[0]) + ".keys"
			}
			tables, err := capture.MakeTables(dir)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			k := &keylog{tables: tables, stderr: cmd.ErrOrStderr(), dir: dir}
			err = control.NewClient(s.control).KeyLog(ctx, args[0], during, k.take)
			return k.end(err)
		},
	}
	cmd.Flags().StringVarP(&dir, "out", "o", "", "the new `directory`; NAME.keys without it")
	cmd.Flags().DurationVar(&during, "for", 10*time.Minute, "how `long`, at most 24h")
	return cmd
}

// fileName is a name of a connection or tunnel as one of a file in this directory.
func fileName(name string) string { return strings.NewReplacer("/", "_", "\x00", "_").Replace(name) }

// keylog writes rows of keys into a directory.
type keylog struct {
	tables *capture.Tables
	stderr io.Writer
	dir    string
	begun  func() // nil: nobody waits for the begin
	rows   int
	lost   int
	inUse  bool
}

func (k *keylog) take(r gateway.KeyRows) error {
	if r.Until != nil {
		k.inUse = true
		fmt.Fprintf(k.stderr, "WARNING: until %s the keys of %s go into %s: who can read it can read all that the tunnel carries\n",
			r.Until.Local().Format(time.TimeOnly), show.Plain(strings.Join(r.Tunnels, ", ")), k.dir)
		if k.begun != nil {
			k.begun()
		}
		return nil
	}
	if k.lost += r.Lost; r.Rows == "" {
		return nil
	}
	k.rows++
	return k.tables.Add(r.Table, r.Rows)
}

// end closes the files, and says what is in them. A directory that never got a key is removed.
func (k *keylog) end(err error) error {
	if e := k.tables.Close(); err == nil {
		err = e
	}
	if !k.inUse {
		if e := k.tables.Remove(); err == nil {
			err = e
		}
		return err
	}
	fmt.Fprintf(k.stderr, "%s has the keys of %d SAs. Remove it as soon as it is of no more use.\n", k.dir, k.rows)
	if k.lost > 0 {
		fmt.Fprintf(k.stderr, "%d more were lost, because they came faster than they could be written\n", k.lost)
	}
	return err
}

// beside writes the keys of a name into a directory until end is called. It returns when the keys of now are asked for.
func beside(ctx context.Context, c *control.Client, name, dir string, during time.Duration, stderr io.Writer) (end func() error, err error) {
	tables, err := capture.MakeTables(dir)
	if err != nil {
		return nil, err
	}
	begun, done := make(chan struct{}), make(chan error, 1)
	k := &keylog{tables: tables, stderr: stderr, dir: dir, begun: func() { close(begun) }}
	ctx, stop := context.WithCancel(ctx)
	go func() { done <- c.KeyLog(ctx, name, during, k.take) }()
	select {
	case <-begun:
		return func() error {
			stop()
			return k.end(<-done)
		}, nil
	case err := <-done:
		stop()
		if err = k.end(err); err == nil {
			err = fmt.Errorf("%w: the key log ended before it began", control.ErrUnreachable)
		}
		return nil, err
	}
}
