package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// containers is what a scenario in containers acts on: the user's docker-compose.yml between an office and a cloud.
type containers struct {
	t *testing.T
	*lab.Lab
	*lab.Project
	engine *lab.Engine
	root   string // the module's directory
	golang string // stands in for the golang image
	image  string // of vpngw
	etc    string // what is /etc/vpngw for it
}

// name is that of vpngw's container, which docs/containers.md and docker-compose.yml call vpngw.
func (c *containers) name() string { return filepath.Base(c.Dir) + "-gateway" }

// scenarios are the labs of test/compose, one directory each, and what happens there once packets pass both ways. The
// first one is part of make test, all are make compose-test.
var scenarios = []struct {
	name     string
	dual     bool // two gateways of the cloud, with BGP
	settings []string
	then     func(c *containers)
}{
	{name: "ikev2", then: func(c *containers) {
		theImage(c)
		theGuide(c)
	}},
	{name: "ikev1"},
	{name: "dual", dual: true, then: theStandbyTakesOver, settings: []string{
		"INSIDE_FAR=169.254.30.1", "INSIDE_NEAR=169.254.30.2", "INSIDE2_FAR=169.254.31.1", "INSIDE2_NEAR=169.254.31.2", "SERVER_BIRD=server.bird.conf",
	}},
	{name: "nat", settings: []string{"ROUTER=masquerade"}, then: theTunnelIsBehindNAT},
	{name: "restart", then: thePeerRestarts},
	{name: "cut", then: theNetworkIsCut},
}

// The user's Dockerfile and docker-compose.yml make a gateway to a strongSwan in a container.
func TestCompose(t *testing.T) {
	t.Parallel()
	var engine *lab.Engine
	t.Cleanup(func() { // the Lab has ended then
		for _, left := range engine.Leftovers() {
			t.Errorf("the engine left %s", left)
		}
	})
	l := lab.New(t)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	engine = l.Engine()
	peer := engine.Image("peer", filepath.Join(root, "test/compose/peer"))
	golang, image := buildImage(t, l, engine, root)
	t.Logf("the engine and the images: %v", time.Since(start).Round(100*time.Millisecond))
	for _, s := range scenarios {
		if s.name != scenarios[0].name && os.Getenv("COMPOSE") != "all" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			l.Use(t)
			start, dir := time.Now(), filepath.Join(root, "test/compose", s.name)
			c := &containers{t: t, Lab: l, engine: engine, root: root, golang: golang, image: image, etc: etc(t, l, dir)}
			files, profiles := []string{"docker-compose.yml", "test/compose/compose.yaml"}, []string(nil)
			if s.dual {
				files, profiles = append(files, "test/compose/bgp.yaml"), append(profiles, "dual")
			}
			for i, f := range files {
				files[i] = filepath.Join(root, f)
			}
			c.Project = engine.Compose(files, profiles, append(s.settings, "SCENARIO="+dir, "VPNGW_ETC="+c.etc, "VPNGW_IMAGE="+image, "VPNGW_NAME="+c.name(), "PEER_IMAGE="+peer)...)
			defer c.Down()
			c.Do("up", "--detach", "--no-build")
			c.awaitHealthy()
			up := time.Since(start)
			if s.dual {
				c.awaitBGP()
			}
			c.carries(100)
			if s.then != nil {
				s.then(c)
			}
			c.nothingInClear()
			c.Down()
			t.Logf("up after %v, ended after %v", up.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond))
		})
	}
}

// buildImage builds the user's Dockerfile. The golang image is one that has the binary under test already, since no test
// may depend on a registry.
func buildImage(t *testing.T, l *lab.Lab, engine *lab.Engine, root string) (golang, image string) {
	t.Helper()
	dir := filepath.Join(l.Dir, "golang")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "test/compose/golang"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "go"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, l.Binary(), filepath.Join(dir, "vpngw"), 0o755)
	golang, image = "vpngw-lab/golang:"+filepath.Base(l.Dir), "vpngw-lab/vpngw:"+filepath.Base(l.Dir)
	t.Cleanup(func() { engine.Forget(golang, image) })
	engine.Docker("build", "--tag", golang, dir)
	engine.Docker("build", "--build-arg", "GOLANG="+golang, "--tag", image, root)
	return golang, image
}

// etc copies a scenario's files for vpngw, which takes them only from their owner's hands.
func etc(t *testing.T, l *lab.Lab, scenario string) string {
	t.Helper()
	dir := filepath.Join(l.Dir, filepath.Base(scenario))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(scenario, "etc", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", scenario, err)
	}
	for _, f := range files {
		copyFile(t, f, filepath.Join(dir, filepath.Base(f)), 0o600)
	}
	return dir
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, mode)
	}
	if err == nil {
		err = os.Chmod(to, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// awaitHealthy waits until every wanted tunnel is up.
func (c *containers) awaitHealthy() {
	c.Helper()
	c.Await(lab.Patience, "vpngw health says that every tunnel is up", func() (bool, string) {
		out, err := c.TryExec("vpngw", "vpngw", "health")
		return err == nil, out
	})
}

// awaitSick waits until a wanted tunnel is not up any more, and returns what vpngw health says.
func (c *containers) awaitSick() (said string) {
	c.Helper()
	c.Await(lab.Patience, "vpngw health says that a tunnel is not up", func() (bool, string) {
		out, err := c.TryExec("vpngw", "vpngw", "health")
		said = strings.TrimSpace(out)
		return err != nil, out
	})
	return said
}

var received = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// ping sends pings from the office to the cloud's server, 20 ms apart, and returns how many had no answer. Their data is
// what nothingInClear looks for.
func (c *containers) ping(count int) (lost int) {
	c.Helper()
	out, _ := c.TryExec("office", "ping", "-n", "-q", "-i", "0.02", "-c", fmt.Sprint(count), "-W", "2", "-p", fmt.Sprintf("%x", inClear), "10.10.0.10")
	m := received.FindStringSubmatch(out)
	if m == nil {
		c.Fatalf("ping: %s", out)
	}
	var sent, got int
	fmt.Sscan(m[1], &sent)
	fmt.Sscan(m[2], &got)
	return sent - got
}

// carries checks that pings and TCP pass between the office and the server without loss. The first packets may come
// before the peer has its SA.
func (c *containers) carries(pings int) {
	c.Helper()
	c.Await(lab.Patience, "a ping is answered", func() (bool, string) {
		return c.ping(1) == 0, c.Exec("vpngw", "vpngw", "routes") + "\nthe server's routes:\n" + c.Exec("server", "ip", "route")
	})
	lost := c.ping(pings)
	c.Logf("%d of %d pings lost", lost, pings)
	if lost > 0 {
		c.Errorf("%d of %d pings lost", lost, pings)
	}
	for from, to := range map[string]string{"office": "10.10.0.10", "server": "192.168.3.10"} {
		sent := c.Exec(from, "sh", "-c", `head -c 8388608 /dev/urandom >/tmp/data; sha256sum </tmp/data`)
		got, err := c.TryExec(from, "sh", "-c", `socat -t 20 - TCP:`+to+`:5000 </tmp/data`)
		if got = strings.TrimSpace(got); err != nil || got != sent {
			c.Errorf("8 MB by TCP from %s to %s: got the checksum %q, want %q (%v)", from, to, got, sent, err)
		}
	}
}

// inClear is in every ping.
const inClear = "VPNGW-IN-CLEAR!!" // 16 bytes, as many as ping repeats

// nothingInClear checks all that the router between the two networks has seen: ESP, and nothing of what the office and the
// server have said.
func (c *containers) nothingInClear() {
	c.Helper()
	counter := func(name string) (n int) {
		out := c.Exec("router", "nft", "list", "counter", "inet", "count", name)
		if _, rest, ok := strings.Cut(out, "packets "); ok {
			fmt.Sscan(rest, &n)
			return n
		}
		c.Fatalf("no counter %s: %s", name, out)
		return 0
	}
	clear, esp := counter("in_clear"), counter("sealed")
	c.Logf("the router has forwarded %d packets of ESP, %d in clear", esp, clear)
	if esp < 1000 {
		c.Errorf("the router has forwarded %d packets of ESP only", esp)
	}
	c.Exec("router", "pkill", "-INT", "tcpdump")
	c.Await(lab.Patience, "tcpdump has ended", func() (bool, string) {
		out, err := c.engine.Try("inspect", "--format", "{{.State.Running}}", c.Container("router"))
		return err == nil && strings.TrimSpace(out) == "false", out
	})
	pcap := c.Fetch("router", "/tmp/eth0.pcap")
	if clear > 0 {
		file := filepath.Join(c.Dir, "eth0.pcap")
		if err := os.WriteFile(file, pcap, 0o600); err != nil {
			c.Fatalf("%v", err)
		}
		c.Errorf("%d packets have passed the router in clear, among them:\n%s", clear, c.Tcpdump(file, "net 192.168.3.0/24 or net 10.10.0.0/24"))
	}
	if bytes.Contains(pcap, []byte(inClear)) {
		c.Errorf("the router has seen the data of pings")
	}
}

// theImage: the container has what docs/containers.md says that it has, and no more.
func theImage(c *containers) {
	c.Helper()
	list := c.engine.Docker("export", "--output", filepath.Join(c.Dir, "rootfs.tar"), c.Container("vpngw")) + c.Tar(filepath.Join(c.Dir, "rootfs.tar"))
	var files []string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		// Docker's own mount points.
		if !strings.HasSuffix(line, "/") && !regexp.MustCompile(`^(dev|proc|sys)/|^\.dockerenv$|^etc/(hostname|hosts|resolv\.conf|mtab)$`).MatchString(line) {
			files = append(files, line)
		}
	}
	if got, want := strings.Join(files, " "), "etc/group etc/passwd usr/bin/vpngw"; got != want {
		c.Errorf("the image has %s; want %s", got, want)
	}
	status := c.engine.Docker("run", "--rm", "--pid", "container:"+c.Container("vpngw"), c.engine.Docker("inspect", "--format", "{{.Config.Image}}", c.Container("office")),
		"grep", "-E", "^(Uid|CapBnd|CapEff|NoNewPrivs):", "/proc/1/status")
	const caps = "0000000000003400" // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW
	for _, want := range []string{"CapBnd:\t" + caps, "CapEff:\t" + caps, "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			c.Errorf("the process has\n%s\nwant %s", status, want)
		}
	}
	c.Await(lab.Patience, "Docker takes the container for healthy", func() (bool, string) {
		out := c.engine.Docker("inspect", "--format", "{{.State.Health.Status}}", c.Container("vpngw"))
		return out == "healthy", out
	})
}

// theGuide: the commands of docs/containers.md run, with this lab's names in place of the user's.
func theGuide(c *containers) {
	c.Helper()
	text, err := os.ReadFile("../docs/containers.md")
	if err != nil {
		c.Fatalf("%v", err)
	}
	blocks := regexp.MustCompile("(?s)```sh by=compose-test\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 3 {
		c.Fatalf("docs/containers.md has %d blocks of commands; want the first steps, the commands of a running container, and docker run", len(blocks))
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		c.Fatalf("%v", err)
	}
	short := regexp.MustCompile("(?s)\n### Containers\n\n```sh by=compose-test\n(.*?)```").FindStringSubmatch(string(readme))
	if short == nil {
		c.Fatalf("README.md has no commands under Containers")
	}
	for command := range strings.Lines(strings.ReplaceAll(short[1], "\\\n", "")) {
		if !strings.Contains(strings.ReplaceAll(blocks[0][1]+blocks[1][1], "\\\n", ""), command) {
			c.Errorf("docs/containers.md does not have the README's command %s", command)
		}
	}
	first := filepath.Join(c.Dir, "first") // where nothing but a body is
	body, err := os.ReadFile("demo/body.json")
	if err != nil {
		c.Fatalf("%v", err)
	}
	if err := errors.Join(os.Mkdir(first, 0o700), os.WriteFile(filepath.Join(first, "body.json"), body, 0o600)); err != nil {
		c.Fatalf("%v", err)
	}
	other := c.name() + "-2" // the container of docker run, beside the one of Compose
	defer func() {
		c.engine.Try("rm", "--force", "--volumes", other)
		c.engine.Try("volume", "rm", other)
	}()
	for i, b := range blocks {
		name := c.name()
		if i == 2 {
			name = other
		}
		for command := range strings.Lines(strings.ReplaceAll(b[1], "\\\n", "")) {
			args := strings.Fields(command)
			for i, a := range args {
				switch {
				case args[0] == "docker" && a == "vpngw" && (args[i-1] == "exec" || args[i-1] == "--name"):
					args[i] = name
				case args[0] == "docker" && a == "vpngw" && args[1] != "exec":
					args[i] = c.image
				case a == ".":
					args[i] = c.root
				}
				etc := c.etc
				if slices.Contains(args, "init") {
					etc = first
				}
				for from, to := range map[string]string{"/etc/vpngw:": etc + ":", "vpngw-state:": other + ":"} {
					if rest, ok := strings.CutPrefix(args[i], from); ok {
						args[i] = to + rest
					}
				}
			}
			var out string
			switch {
			case args[0] == "docker-compose":
				out, err = c.Try(args[1:]...)
			case args[1] == "build":
				out, err = c.engine.Try(append([]string{"build", "--build-arg", "GOLANG=" + c.golang}, args[2:]...)...)
			default:
				out, err = c.engine.Try(args[1:]...)
			}
			if err != nil {
				c.Errorf("%s: %v\n%s", strings.TrimSpace(command), err, out)
			}
		}
	}
	c.Await(lab.Patience, "the container of docker run answers", func() (bool, string) {
		out, err := c.engine.Try("exec", other, "vpngw", "status")
		return err == nil && strings.Contains(out, "office"), out
	})
}

// theTunnelIsBehindNAT: each end has noticed.
func theTunnelIsBehindNAT(c *containers) {
	c.Helper()
	if out := c.Exec("vpngw", "vpngw", "status", "--json"); !regexp.MustCompile(`"encap": true`).MatchString(out) {
		c.Errorf("no ESP in UDP: %s", out)
	}
	if out := c.Exec("cloud", "swanctl", "--list-sas"); !regexp.MustCompile(`remote\s+'office\.example\.org' @ 198\.51\.100\.200\[(\d+)\]`).MatchString(out) {
		c.Errorf("the cloud does not see the router's address: %s", out)
	}
}

// awaitBGP waits until both of the cloud's gateways have told the way to the server. Before it was told for the first time,
// vpngw does not know what to guard.
func (c *containers) awaitBGP() {
	c.Helper()
	c.Await(lab.Patience, "both of the cloud's gateways tell the way", func() (bool, string) {
		out := c.Exec("vpngw", "vpngw", "routes")
		return regexp.MustCompile(`(?m)^office-1 +10\.10\.0\.0/24 +bgp .* yes `).MatchString(out) && regexp.MustCompile(`(?m)^office-2 +10\.10\.0\.0/24 +bgp .* other `).MatchString(out), out
	})
}

// theStandbyTakesOver: one of the cloud's two gateways ends without a word.
func theStandbyTakesOver(c *containers) {
	c.Helper()
	c.Do("kill", "cloud")
	c.awaitSick()
	c.Await(lab.Patience, "pings pass by the standby", func() (bool, string) {
		return c.ping(1) == 0, c.Exec("vpngw", "vpngw", "status")
	})
	c.carries(100)
	c.Do("start", "cloud")
	c.awaitHealthy()
	c.carries(20)
}

// thePeerRestarts: the cloud's strongSwan ends without a word and comes back.
func thePeerRestarts(c *containers) {
	c.Helper()
	c.Do("kill", "cloud")
	said := c.awaitSick()
	if !strings.HasPrefix(said, "office is ") {
		c.Errorf("vpngw health says %q", said)
	}
	if lost := c.ping(20); lost != 20 {
		c.Errorf("%d of 20 pings were answered with no peer", 20-lost)
	}
	c.Do("start", "cloud")
	c.awaitHealthy()
	c.carries(100)
}

// theNetworkIsCut: nothing passes between the two networks for a while. The addresses and the links stay.
func theNetworkIsCut(c *containers) {
	c.Helper()
	c.Exec("router", "nft", "table inet cut { chain forward { type filter hook forward priority 0; policy drop; }; }")
	c.awaitSick()
	if lost := c.ping(20); lost != 20 {
		c.Errorf("%d of 20 pings were answered with no network", 20-lost)
	}
	c.Exec("router", "nft", "delete table inet cut")
	c.awaitHealthy()
	c.carries(100)
}
