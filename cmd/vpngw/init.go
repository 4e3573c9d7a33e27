package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"vpngw/config"
	"vpngw/config/begin"
	"vpngw/config/load"
	"vpngw/diag"
	"vpngw/host"
)

// initFlags are the flags of init.
type initFlags struct {
	out, dialect, body, side, name            string
	gateways, customers, asns, listen, routes []string
	pskFiles                                  []string
	pskStdin, force, native                   bool
	local, remote, localID, remoteID, ike     string
	localNets, remoteNets                     []string
	given                                     func(string) bool
	in                                        *os.File
	reader                                    *bufio.Reader
}

// ikeVersions are what --ike-version of init takes.
var ikeVersions = []string{"1", "2", "any"}

func newInit() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration, by questions or by flags",
		Long: `Init writes a configuration that "vpngw check" accepts, of the body that created the
connection in the cloud (or of the cloud's answer that describes it) and of what the body
does not say: the addresses that its gateway ids stand for, and the pre-shared key.

On a terminal it asks for what no flag says. Elsewhere it names every flag that is
missing, and ends with exit code 2.

The body is kept verbatim in a file beside the configuration, a typed pre-shared key in
another one. Only root can read them, or the group "vpngw" where there is one. An existing
file is not touched without --force, but for the example that an installation leaves.

A key never stands on the command line: --psk-file names a file that stays where it is,
and --psk-stdin reads it from standard input, one line for each tunnel.

With --native it describes a peer that is none of these clouds.`,
		Example: `  vpngw init
  vpngw init --body body.json --gateway vpn-1=198.51.100.1 --customer-gateway cgw-1=203.0.113.9 \
    --psk-file /etc/vpngw/hq.psk
  pass hq | vpngw init --native --local 203.0.113.9 --remote 198.51.100.1 --psk-stdin \
    --local-network 192.168.3.0/24 --remote-network 10.10.0.0/16`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.given = cmd.Flags().Changed
			f.in, f.reader = os.Stdin, bufio.NewReader(os.Stdin)
			return f.run(cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.out, "output", "o", defaultConfig, "the configuration `file` to write; the others stand beside it")
	fl.StringVar(&f.dialect, "dialect", "", "whose `words` the body is in: "+strings.Join(begin.Dialects(), ", ")+"; by default as its keys say")
	fl.StringVar(&f.body, "body", "", "the `file` with the body, or - for standard input")
	fl.StringVar(&f.side, "side", "customer", "which `end` this host is: customer or cloud")
	fl.StringVar(&f.name, "name", "", "the connection's `name`; by default the body's")
	fl.StringArrayVar(&f.gateways, "gateway", nil, "`ID=ADDRESS` of the cloud's gateway, ID=NAME, or ID=MASTER,SLAVE; may be repeated")
	fl.StringArrayVar(&f.customers, "customer-gateway", nil, "`ID=ADDRESS` of the customer's gateway; may be repeated")
	fl.StringArrayVar(&f.asns, "asn", nil, "`ID=NUMBER`, BGP's AS number of a gateway; may be repeated")
	fl.StringArrayVar(&f.pskFiles, "psk-file", nil, "the `file` with the pre-shared key; twice for the keys of two tunnels")
	fl.BoolVar(&f.pskStdin, "psk-stdin", false, "read the pre-shared key from standard input")
	fl.StringArrayVar(&f.listen, "listen", nil, "this host's underlay `address`; may be repeated")
	fl.StringArrayVar(&f.routes, "route", nil, "`network` behind the other gateway, where the body does not say it, or none; may be repeated")
	fl.BoolVar(&f.native, "native", false, "a peer that is none of these clouds")
	fl.StringVar(&f.local, "local", "", "with --native: this end's `address`")
	fl.StringVar(&f.remote, "remote", "", "with --native: the other end's `address`, or its name")
	fl.StringVar(&f.localID, "local-id", "", "with --native: this end's `identity`; by default its address")
	fl.StringVar(&f.remoteID, "remote-id", "", "with --native: the other end's `identity`; by default its address")
	fl.StringArrayVar(&f.localNets, "local-network", nil, "with --native: `network` behind this end; may be repeated")
	fl.StringArrayVar(&f.remoteNets, "remote-network", nil, "with --native: `network` behind the other end; may be repeated")
	fl.StringVar(&f.ike, "ike-version", "2", "with --native: `version` of IKE: 1, 2 or any")
	cmd.RegisterFlagCompletionFunc("ike-version", cobra.FixedCompletions(ikeVersions, cobra.ShellCompDirectiveNoFileComp))
	fl.BoolVar(&f.force, "force", false, "overwrite files that are there")
	return cmd
}

func (f *initFlags) run(out io.Writer) error {
	a, err := f.answers()
	if err != nil {
		return err
	}
	if err := f.free([]begin.File{{Path: f.out}}); err != nil { // before anybody answers questions
		return err
	}
	if ps := a.Check(); len(a.Body) > 0 && ps.Failed() {
		ps.Write(out)
		return fmt.Errorf("the body cannot be used; nothing was written")
	}
	if !terminal(f.in) {
		if needs := a.Needs(); len(needs) > 0 {
			return f.missing(needs)
		}
	} else if err := f.terminal(out).Ask(a); err != nil {
		return err
	}
	a.Fill()
	files, ps := a.Files(f.out, load.ReadRegular, loadOptions)
	if files == nil {
		ps.Write(out)
		return fmt.Errorf("the configuration would have errors; nothing was written")
	}
	if err := f.write(files); err != nil {
		return err
	}
	for _, file := range files {
		fmt.Fprintf(out, "wrote %s\n", file.Path)
	}
	r, problems := readConfig(f.out)
	printCheck(out, f.out, r, problems)
	if problems.Failed() {
		return errSaid
	}
	if problems.Refused() {
		fmt.Fprintf(out, "next: mend what run refuses in %s, and check again: vpngw check -c %s\n", f.out, f.out)
		return nil
	}
	fmt.Fprintf(out, "next: %s\n", next(f.out))
	return nil
}

// next is the command that starts the daemon.
func next(file string) string {
	if _, err := os.Stat("/run/systemd/system"); err == nil && file == defaultConfig {
		return "systemctl enable --now vpngw"
	}
	return "vpngw run -c " + file
}

// answers are what the flags say.
func (f *initFlags) answers() (*begin.Answers, error) {
	a := &begin.Answers{Dialect: f.dialect, Name: f.name, Gateways: map[string]*begin.Gateway{}, Customer: map[string]*begin.Gateway{}}
	wrong := func(flag string, err error) error { return &usageError{fmt.Errorf("%s: %w", flag, err)} }
	switch f.side {
	case "customer":
	case "cloud":
		a.Side = config.Cloud
	default:
		return nil, wrong("--side", fmt.Errorf("%q is neither customer nor cloud", f.side))
	}
	if f.dialect != "" && !slices.Contains(begin.Dialects(), f.dialect) {
		return nil, wrong("--dialect", fmt.Errorf("%q is none of %s; another kind of peer is --native", f.dialect, strings.Join(begin.Dialects(), ", ")))
	}
	if f.name != "" {
		if want := config.CheckName(f.name); want != "" {
			return nil, wrong("--name", fmt.Errorf("it must %s", want))
		}
	}
	if f.native && f.body != "" {
		return nil, wrong("--native", errors.New("it describes the peer without a body; leave out --body"))
	}
	for _, of := range []struct {
		flag  string
		given []string
		to    map[string]*begin.Gateway
	}{{"--gateway", f.gateways, a.Gateways}, {"--customer-gateway", f.customers, a.Customer}} {
		for _, s := range of.given {
			id, addresses, ok := strings.Cut(s, "=")
			g := &begin.Gateway{}
			var err error
			if strings.Contains(addresses, ",") {
				g.Addresses, err = begin.Addresses(addresses, 0)
			} else {
				err = g.Place(addresses)
			}
			switch {
			case !ok || id == "":
				err = fmt.Errorf("%q is not ID=ADDRESS", s)
			case err == nil && len(g.Addresses) > 2:
				err = errors.New("at most two addresses, the master's and the slave's")
			}
			if err != nil {
				return nil, wrong(of.flag, err)
			}
			of.to[id] = g
		}
	}
	for _, s := range f.asns {
		id, number, ok := strings.Cut(s, "=")
		if !ok || id == "" {
			return nil, wrong("--asn", fmt.Errorf("%q is not ID=NUMBER", s))
		}
		asn, err := begin.AS(number)
		if err != nil {
			return nil, wrong("--asn", err)
		}
		g := a.Gateways[id]
		if g == nil {
			g = a.Customer[id]
		}
		if g == nil {
			g = &begin.Gateway{}
			a.Customer[id] = g
		}
		g.ASN = asn
	}
	var err error
	if a.Routes, err = networks(f.routes); err != nil {
		return nil, wrong("--route", err)
	}
	if len(f.listen) > 0 {
		if a.Listen, err = begin.Addresses(strings.Join(f.listen, ","), 0); err != nil {
			return nil, wrong("--listen", err)
		}
	}
	if err := f.natively(a); err != nil {
		return nil, err
	}
	if err := f.files(a); err != nil {
		return nil, err
	}
	return a, nil
}

// networks are the values of a flag that may be repeated; none where it is not given.
func networks(given []string) ([]netip.Prefix, error) {
	switch {
	case len(given) == 0:
		return nil, nil
	case len(given) == 1 && given[0] == "none":
		return []netip.Prefix{}, nil
	}
	return begin.Prefixes(strings.Join(given, ","))
}

// natively are the flags that go with --native.
func (f *initFlags) natively(a *begin.Answers) error {
	if !f.native {
		for _, flag := range []string{"local", "remote", "local-id", "remote-id", "local-network", "remote-network", "ike-version"} {
			if f.given(flag) {
				return &usageError{fmt.Errorf("--%s goes with --native; a body says it otherwise", flag)}
			}
		}
		return nil
	}
	n := &begin.Native{LocalID: f.localID, RemoteID: f.remoteID, IKEVersion: f.ike}
	a.Native = n
	if !slices.Contains(ikeVersions, f.ike) {
		return &usageError{fmt.Errorf("--ike-version is %q; it can be 1, 2 or any", f.ike)}
	}
	var err error
	if f.local != "" {
		as, err := begin.Addresses(f.local, 1)
		if err != nil {
			return &usageError{fmt.Errorf("--local: %w", err)}
		}
		n.Local = as[0]
	}
	if f.remote != "" {
		if n.Remote, n.RemoteHost, err = begin.Place(f.remote); err != nil {
			return &usageError{fmt.Errorf("--remote: %w", err)}
		}
	}
	if n.LocalNets, err = networks(f.localNets); err == nil {
		n.RemoteNets, err = networks(f.remoteNets)
	}
	if err != nil {
		return &usageError{fmt.Errorf("--local-network, --remote-network: %w", err)}
	}
	return nil
}

// files reads the body and the keys.
func (f *initFlags) files(a *begin.Answers) error {
	var err error
	if f.body == "-" && f.pskStdin {
		return &usageError{errors.New("--body - and --psk-stdin both read standard input; give one of them as a file")}
	}
	if len(f.pskFiles) > 0 && f.pskStdin {
		return &usageError{errors.New("--psk-file and --psk-stdin both give the key; leave out one of them")}
	}
	switch f.body {
	case "":
	case "-":
		a.Body, err = readAtMost(f.reader, "standard input", maxInitBody)
	default:
		a.Body, err = readInit(f.body)
	}
	if err != nil {
		return err
	}
	for _, name := range f.pskFiles {
		path, err := filepath.Abs(name) // relative names in a configuration start at its directory
		if err != nil {
			return err
		}
		a.PSKFiles = append(a.PSKFiles, path)
	}
	if len(f.pskFiles) > 2 {
		return &usageError{errors.New("--psk-file may be given twice at most")}
	}
	for f.pskStdin && len(a.PSKs) < 2 {
		line, err := f.reader.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			a.PSKs = append(a.PSKs, line)
		}
		if err != nil {
			break
		}
	}
	if f.pskStdin && len(a.PSKs) == 0 {
		return errors.New("--psk-stdin: standard input has no key")
	}
	return nil
}

const maxInitBody = 1 << 20

func readInit(name string) ([]byte, error) { return readFile(name, maxInitBody) }

// missing names all flags that are missing, at once.
func (f *initFlags) missing(needs []begin.Need) error {
	var flags []string
	for _, n := range needs {
		flags = append(flags, "  "+n.Flag)
	}
	return &usageError{fmt.Errorf("standard input is no terminal to ask on, and these flags are missing:\n%s", strings.Join(flags, "\n"))}
}

func (f *initFlags) terminal(out io.Writer) *begin.Terminal {
	return &begin.Terminal{
		In: f.reader, Out: out, ReadFile: readInit,
		Warn: func(ps diag.Problems, out io.Writer) { ps.Write(out) },
		Secret: func() (string, error) {
			undo, err := host.HideInput(f.in)
			if err != nil {
				return "", err
			}
			interrupted := make(chan os.Signal, 1)
			signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
			defer signal.Stop(interrupted)
			defer undo()
			done := make(chan struct{})
			defer close(done)
			go func() {
				select {
				case <-interrupted:
					undo() // or the user's shell would show nothing either
					os.Exit(exitError)
				case <-done:
				}
			}()
			line, err := f.reader.ReadString('\n')
			return strings.TrimRight(line, "\r\n"), err
		},
	}
}

// free refuses to overwrite files unless forced to.
func (f *initFlags) free(files []begin.File) error {
	var there []string
	for _, file := range files {
		if _, err := os.Lstat(file.Path); err == nil && !untouched(file.Path) {
			there = append(there, file.Path)
		}
	}
	if len(there) > 0 && !f.force {
		return fmt.Errorf("nothing was written: %s is there already; another name is -o FILE, and --force overwrites", strings.Join(there, ", "))
	}
	return nil
}

// untouched reports whether a file is the example as an installation puts it there, in which nobody has written anything.
func untouched(name string) bool {
	text, err := readInit(name)
	return err == nil && string(text) == exampleFile
}

// write writes the files. Each appears whole or not at all, the configuration last.
func (f *initFlags) write(files []begin.File) error {
	if err := f.free(files); err != nil {
		return err
	}
	group := readers()
	dir := filepath.Dir(f.out)
	if err := mkdir(dir, group); err != nil {
		return err
	}
	for _, file := range files {
		if err := place(file, group); err != nil {
			return err
		}
	}
	return nil
}

// readers is the group that the daemon runs as, which may read the files; -1 where there is none, or where this user
// cannot give it files.
func readers() int {
	g, err := user.LookupGroup("vpngw")
	if err != nil || os.Geteuid() != 0 {
		return -1
	}
	id, err := strconv.Atoi(g.Gid)
	if err != nil {
		return -1
	}
	return id
}

func mkdir(dir string, group int) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil || group < 0 {
		return err
	}
	if err := os.Chown(dir, 0, group); err != nil {
		return err
	}
	return os.Chmod(dir, 0o750)
}

// place writes one file with its final owner and mode, and then gives it its name.
func place(file begin.File, group int) error {
	tmp, err := os.CreateTemp(filepath.Dir(file.Path), ".init-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(file.Data); err != nil {
		return err
	}
	if group >= 0 {
		if err := tmp.Chown(0, group); err != nil {
			return err
		}
		if err := tmp.Chmod(0o640); err != nil {
			return err
		}
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file.Path)
}
