package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vpngw/test/lab/numbered"
)

// Guest is a Debian with a kernel of its own, which has ESP, in an emulated machine. It needs no help of the processor
// and boots in some seconds. Its eth0 is a cable to a Namespace. What it writes is lost at its end.
type Guest struct {
	Process *Process // qemu

	lab   *Lab
	ns    *Namespace // of its cables
	role  string
	at    string // where the program test/lab/guest listens
	http  *http.Client
	relay net.Listener // to its charon; nil: not wanted yet
}

// Guest boots a Debian of a suite with these packages, and gives the Namespace a device that is the other end of its eth0. It returns
// when the guest does what it is told.
func (n *Namespace) Guest(role, device, suite string, packages ...string) *Guest {
	n.lab.Helper()
	image := n.lab.guestImage(suite, packages)
	control := device + "-c"
	for _, tap := range []string{device, control} {
		n.Run("ip", "tuntap", "add", "dev", tap, "mode", "tap")
		n.Run("ip", "link", "set", tap, "up", "txqueuelen", "10000")
	}
	net4 := 4 * n.number()
	n.Address(control, fmt.Sprintf("192.168.77.%d/30", net4+1))
	theirs := fmt.Sprintf("192.168.77.%d", net4+2)
	g := &Guest{lab: n.lab, ns: n, role: role, at: theirs + ":7000"}
	g.http = &http.Client{Transport: &http.Transport{DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
		return g.dial(network, address)
	}}}
	start := time.Now()
	// One processor: with two a kernel that changes its own code, as it does while it boots, may stumble over it under emulation.
	g.Process = n.Start(role, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-kernel", image.kernel, "-initrd", image.initrd,
		"-append", "console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off cryptomgr.notests lab.control="+theirs,
		"-drive", "if=virtio,format=raw,snapshot=on,file="+image.disk,
		"-netdev", "tap,id=n0,script=no,downscript=no,ifname="+device, "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:"+fmt.Sprintf("%02x", net4),
		"-netdev", "tap,id=n1,script=no,downscript=no,ifname="+control, "-device", "virtio-net-pci,netdev=n1,mac=52:54:00:00:01:"+fmt.Sprintf("%02x", net4),
		"-device", "virtio-rng-pci")
	n.lab.Await(guestPatience, g.Process.Name+" answers", func() (bool, string) {
		g.Process.mustRun()
		out, err := g.Try("uname -r")
		return err == nil, out + "\n" + tail(g.Process.Log(), 20)
	})
	n.lab.Logf("%s: a guest of %s booted in %v", role, suite, time.Since(start).Round(100*time.Millisecond))
	return g
}

// post sends a request to the program in the guest.
func (g *Guest) post(path string, query url.Values, body io.Reader, out any) error {
	resp, err := g.http.Post("http://"+g.at+path+"?"+query.Encode(), "text/plain", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", g.role, path, resp.Status, text)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// guestPatience is the longest that a script takes in a guest, which is slow on a busy machine.
const guestPatience = 5 * time.Minute

// Try runs a shell script in the guest and returns its output. It may be called from any goroutine.
func (g *Guest) Try(script string) (string, error) {
	var a struct {
		Code int
		Out  string
	}
	err := g.post("/sh", url.Values{"seconds": {strconv.Itoa(int(guestPatience.Seconds()))}}, strings.NewReader(script), &a)
	if err == nil && a.Code != 0 {
		err = fmt.Errorf("exit status %d", a.Code)
	}
	return a.Out, err
}

// Sh runs a shell script in the guest, and fails the test when the script fails.
func (g *Guest) Sh(script string) string {
	g.lab.Helper()
	out, err := g.Try(script)
	if err != nil {
		g.lab.Fatalf("%s: %s: %v\n%s", g.role, script, err, tail(out, 40))
	}
	return out
}

// Put writes a file of the guest, as root's alone.
func (g *Guest) Put(path, text string) {
	g.lab.Helper()
	if err := g.post("/file", url.Values{"path": {path}}, bytes.NewReader([]byte(text)), nil); err != nil {
		g.lab.Fatalf("%s: %s: %v", g.role, path, err)
	}
}

// Charon is the strongSwan that runs in the guest, whose socket is /run/charon.vici; the caller has started it.
func (g *Guest) Charon() *Charon {
	g.lab.Helper()
	socket := filepath.Join(g.lab.Dir, g.role+".vici")
	if g.relay == nil {
		var err error
		if g.relay, err = net.Listen("unix", socket); err != nil {
			g.lab.Fatalf("lab: %v", err)
		}
		g.lab.onClose(func() { g.relay.Close() })
		go g.serve()
	}
	c := &Charon{Process: g.Process, ns: g.ns, socket: socket}
	c.connect()
	return c
}

// serve connects who calls at the relay's socket to the guest.
func (g *Guest) serve() {
	for {
		here, err := g.relay.Accept()
		if err != nil {
			return
		}
		there, err := g.dial("tcp", strings.Replace(g.at, ":7000", ":7001", 1))
		if err != nil {
			here.Close()
			continue
		}
		for _, c := range [][2]net.Conn{{here, there}, {there, here}} {
			go func() {
				io.Copy(c[0], c[1])
				c[0].Close()
			}()
		}
	}
}

func (g *Guest) dial(network, address string) (conn net.Conn, err error) {
	g.ns.Do(func() { conn, err = net.DialTimeout(network, address, 5*time.Second) })
	return conn, err
}

// Talk opens one end of a flow in the guest.
func (g *Guest) Talk(local, remote string) Talker {
	g.lab.Helper()
	t := &guestTalker{g: g, name: fmt.Sprint(runs.Add(1))}
	t.do("open", url.Values{"local": {local}, "remote": {remote}})
	return t
}

// Talker is one end of a flow of numbered packets, wherever it is.
type Talker interface {
	Start(perSecond int)
	Halt()
	Report() numbered.Report
	Close() numbered.Report
}

type guestTalker struct {
	g    *Guest
	name string
}

func (t *guestTalker) do(verb string, query url.Values) (r numbered.Report) {
	t.g.lab.Helper()
	query.Set("name", t.name)
	if err := t.g.post("/talk/"+verb, query, nil, &r); err != nil {
		t.g.lab.Fatalf("%v", err)
	}
	return r
}

func (t *guestTalker) Start(perSecond int) {
	t.do("start", url.Values{"rate": {strconv.Itoa(perSecond)}})
}
func (t *guestTalker) Halt()                   { t.do("halt", url.Values{}) }
func (t *guestTalker) Report() numbered.Report { return t.do("report", url.Values{}) }
func (t *guestTalker) Close() numbered.Report  { return t.do("close", url.Values{}) }
