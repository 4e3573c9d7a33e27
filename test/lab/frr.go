package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// FRR is a running FRR: its bgpd, zebra for the kernel and bfdd, each a process of its own without a
// supervisor.
type FRR struct {
	*Process // bgpd
	Zebra    *Process
	BFD      *Process
	ns       *Namespace
	conf     BGP
	dir      string // of its sockets
}

// FRR starts an FRR in the namespace. It returns when bgpd answers vtysh.
func (n *Namespace) FRR(c BGP) *FRR {
	n.lab.Helper()
	f := &FRR{ns: n, conf: c, dir: filepath.Join(n.lab.Dir, n.role+"-frr")}
	// FRR's programs become the user frr, of which BGP_ROOT may have another.
	if err := errors.Join(os.MkdirAll(f.dir, 0o777), os.Chmod(f.dir, 0o777)); err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	none := f.file("none", "log stdout\n")
	f.Zebra = f.start("zebra", none)
	f.await("zebra.vty", f.Zebra)
	f.BFD = f.start("bfdd", none)
	f.file("bgpd", f.text())
	f.Restart()
	return f
}

// file writes a configuration that FRR's user can read.
func (f *FRR) file(name, content string) string {
	f.ns.lab.Helper()
	path := filepath.Join(f.dir, name+".conf")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		f.ns.lab.Fatalf("lab: %v", err)
	}
	return path
}

// Restart starts bgpd again. It kills it first if it still runs.
func (f *FRR) Restart() {
	f.ns.lab.Helper()
	if f.Process != nil {
		f.Kill()
	}
	os.Remove(filepath.Join(f.dir, "bgpd.vty"))
	f.Process = f.start("bgpd", filepath.Join(f.dir, "bgpd.conf"))
	f.await("bgpd.vty", f.Process)
	f.ns.lab.Await(Patience, f.Name+" answers", func() (bool, string) {
		out, err := f.try("show bgp summary json")
		return err == nil && strings.Contains(out, "{"), out
	})
}

func (f *FRR) start(daemon, conf string) *Process {
	f.ns.lab.Helper()
	args := []string{
		"-f", conf, "-z", f.dir + "/zserv.api", "-i", f.dir + "/" + daemon + ".pid",
		"--vty_socket", f.dir, "-P", "0",
	}
	if daemon == "bfdd" && bgpRoot == "" { // FRR 10 has no such option; BGP_ROOT has a /run of its own
		args = append(args, "--bfdctl", f.dir+"/bfdd.sock")
	}
	return f.ns.startRouter("frr-"+daemon, "/usr/lib/frr/"+daemon, args...)
}

// await waits until a daemon has made its socket.
func (f *FRR) await(socket string, p *Process) {
	f.ns.lab.Helper()
	f.ns.lab.Await(Patience, p.Name+" has its socket", func() (bool, string) {
		p.mustRun()
		_, err := os.Stat(filepath.Join(f.dir, socket))
		return err == nil, p.Log()
	})
}

// Host is the namespace that FRR runs in.
func (f *FRR) Host() *Namespace { return f.ns }

// Stop ends all of FRR.
func (f *FRR) Stop() {
	f.ns.lab.Helper()
	f.Process.Stop()
	f.BFD.Stop()
	f.Zebra.Stop()
}

func (f *FRR) text() string {
	c := f.conf
	var s, family strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	line("log stdout\ndebug bgp neighbor-events\nroute-map none deny 10\nroute-map all permit 10")
	if !c.Kernel {
		line("bgp no-rib")
	}
	line("router bgp %d", c.ASN)
	line(" bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n bgp log-neighbor-changes", c.id())
	if slices.ContainsFunc(c.Peers, func(p BGPPeer) bool { return p.Graceful }) {
		line(" bgp graceful-restart")
	}
	line("exit\nbgp as-path access-list ours permit ^$")
	for i, p := range c.Peers {
		line("route-map to%d permit 10\n match as-path ours", i)
		if p.NextHop != "" {
			line(" set ip next-hop %s", p.NextHop)
		}
		line("exit\nrouter bgp %d", c.ASN)
		set := func(format string, args ...any) { line(" neighbor "+p.Remote+" "+format, args...) }
		set("remote-as %d", p.RemoteASN)
		set("update-source %s", p.Local)
		set("timers %d %d", max(1, p.hold()/3), p.hold())
		set("timers connect 1")
		set("advertisement-interval 0")
		if p.Password != "" {
			set("password %s", p.Password)
		}
		if p.TTLSecurity {
			set("ttl-security hops 1")
		}
		if p.Passive {
			set("passive")
		}
		if p.BFD {
			set("bfd")
			set("bfd 3 300 300")
		}
		line("exit")
		fmt.Fprintf(&family, "  neighbor %s activate\n  neighbor %[1]s route-map to%d out\n  neighbor %[1]s send-community\n  neighbor %[1]s soft-reconfiguration inbound\n", p.Remote, i)
	}
	line("router bgp %d\n address-family ipv4 unicast\n%s", c.ASN, family.String())
	for _, p := range c.Announce {
		line("  network %s", p)
	}
	line(" exit-address-family\nexit")
	return s.String()
}

// Set replaces the configuration and starts bgpd again.
func (f *FRR) Set(c BGP) {
	f.ns.lab.Helper()
	f.conf = c
	f.file("bgpd", f.text())
	f.Restart()
}

// Announce replaces what FRR tells its peers.
func (f *FRR) Announce(prefixes ...string) {
	f.ns.lab.Helper()
	var s strings.Builder
	fmt.Fprintf(&s, "configure terminal\nrouter bgp %d\naddress-family ipv4 unicast\n", f.conf.ASN)
	for _, p := range f.conf.Announce {
		if !slices.Contains(prefixes, p) {
			fmt.Fprintf(&s, "no network %s\n", p)
		}
	}
	for _, p := range prefixes {
		if !slices.Contains(f.conf.Announce, p) {
			fmt.Fprintf(&s, "network %s\n", p)
		}
	}
	f.conf.Announce = prefixes
	f.Command(s.String() + "end\n")
	f.file("bgpd", f.text())
}

func (f *FRR) try(commands string) (string, error) {
	program, args := "vtysh", []string{"--vty_socket", f.dir}
	if bgpRoot != "" {
		program, args = "nsenter", append([]string{"-m", "-t", strconv.Itoa(f.PID()), "chroot", "/" + bgpRoot, "vtysh"}, args...)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = strings.NewReader(commands)
	if !strings.Contains(commands, "\n") {
		cmd = exec.Command(program, append(args, "-c", commands)...)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Command gives vtysh one command, or several lines, and returns the answer.
func (f *FRR) Command(commands string) string {
	f.ns.lab.Helper()
	out, err := f.try(commands)
	if err != nil {
		f.ns.lab.Fatalf("%s: vtysh: %v\n%s\n%s", f.Name, err, commands, tail(out, 40))
	}
	return out
}

func (f *FRR) json(command string, into any) (string, error) {
	out, err := f.try(command)
	if err == nil {
		err = json.Unmarshal([]byte(out[max(0, strings.IndexAny(out, "{[")):]), into)
	}
	return out, err
}

// Established reports whether the session with that address is up.
func (f *FRR) Established(remote string) (bool, string) {
	var s map[string]struct{ BGPState string }
	out, err := f.json("show bgp neighbors "+remote+" json", &s)
	if err != nil {
		return false, out
	}
	return s[remote].BGPState == "Established", s[remote].BGPState
}

// BFDUp reports whether the BFD session with that address is up.
func (f *FRR) BFDUp(remote string) (bool, string) {
	var s []struct{ Peer, Status string }
	out, err := f.json("show bfd peers json", &s)
	for _, p := range s {
		if p.Peer == remote {
			return p.Status == "up", p.Status
		}
	}
	return false, fmt.Sprint(err, out)
}

// Routes are the routes that a peer has told and FRR has taken.
func (f *FRR) Routes(remote string) []BGPRoute {
	f.ns.lab.Helper()
	var s struct {
		Routes map[string]json.RawMessage
	}
	if out, err := f.json("show bgp ipv4 unicast neighbors "+remote+" routes json", &s); err != nil {
		f.ns.lab.Fatalf("%s: routes: %v\n%s", f.Name, err, tail(out, 20))
	}
	var all []BGPRoute
	for prefix, raw := range s.Routes {
		var paths []struct {
			Path     string
			NextHops []struct{ IP string }
		}
		if json.Unmarshal(raw, &paths) != nil {
			continue
		}
		for _, p := range paths {
			r := BGPRoute{Prefix: prefix}
			if len(p.NextHops) > 0 {
				r.NextHop = p.NextHops[0].IP
			}
			for _, w := range strings.Fields(p.Path) {
				if n, err := strconv.ParseUint(w, 10, 32); err == nil {
					r.Path = append(r.Path, uint32(n))
				}
			}
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b BGPRoute) int { return strings.Compare(a.Prefix, b.Prefix) })
	return all
}
