package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Namespace is one host of the Lab.
type Namespace struct {
	Name string // as `ip netns` knows it

	lab  *Lab
	role string       // its name within the Lab
	last atomic.Int64 // number handed out

	ownClock bool // its daemons have clocks of their own
}

// Namespace makes a host, forwarding packets as every gateway must and with
// no reverse path filter.
func (l *Lab) Namespace(role string) *Namespace {
	l.Helper()
	n := &Namespace{Name: l.tag + "-" + role, lab: l, role: role}
	if l.names[role] != nil {
		l.Fatalf("lab: there are two hosts called %s", role)
	}
	l.names[role] = n
	l.onClose(func() { removeNamespace(n.Name) })
	if out, err := exec.Command("ip", "netns", "add", n.Name).CombinedOutput(); err != nil {
		l.Fatalf("lab: ip netns add: %v\n%s", err, out)
	}
	n.Sysctl("net.ipv4.ip_forward", "1")
	n.Sysctl("net.ipv4.conf.all.rp_filter", "0")
	n.Sysctl("net.ipv4.conf.default.rp_filter", "0")
	n.Sysctl("net.ipv6.conf.all.forwarding", "1")
	n.Sysctl("net.ipv6.conf.default.accept_dad", "0")
	n.Run("ip", "link", "set", "lo", "up")
	return n
}

// Namespaces are all hosts of the Lab, by role.
func (l *Lab) Namespaces() map[string]*Namespace { return l.names }

func (n *Namespace) command(program string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.Name, program}, args...)...)
}

// number returns a number for a name that must be unique within the namespace.
func (n *Namespace) number() int64 { return n.last.Add(1) }

// Run runs a program to its end and returns its output. It fails the test when
// the program fails or takes longer than a minute.
func (n *Namespace) Run(program string, args ...string) string {
	n.lab.Helper()
	out, err := n.Try(program, args...)
	if err != nil {
		n.lab.Fatalf("%s: %s %s: %v\n%s", n.role, program, strings.Join(args, " "), err, tail(out, 40))
	}
	return out
}

// Try is Run for a program that may fail. It may be called from any goroutine.
func (n *Namespace) Try(program string, args ...string) (string, error) {
	return n.feed("", time.Minute, program, args...)
}

func (n *Namespace) feed(stdin string, limit time.Duration, program string, args ...string) (string, error) {
	return attempt(limit, stdin, nil, "ip", append([]string{"netns", "exec", n.Name, program}, args...)...)
}

// Sysctl sets a sysctl by its dotted name.
func (n *Namespace) Sysctl(name, value string) {
	n.lab.Helper()
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	var err error
	n.Do(func() { err = os.WriteFile(path, []byte(value), 0o644) })
	if err != nil {
		n.lab.Fatalf("%s: sysctl %s: %v", n.role, name, err)
	}
}

// Do calls f on a thread that is in the namespace: sockets that f opens belong
// to it for good, goroutines that f starts do not.
func (n *Namespace) Do(f func()) {
	n.lab.Helper()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	defer here.Close()
	there, err := os.Open("/run/netns/" + n.Name)
	if err != nil {
		n.lab.Fatalf("lab: %v", err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		n.lab.Fatalf("lab: entering %s: %v", n.Name, err)
	}
	defer func() {
		if err := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); err != nil {
			n.lab.Fatalf("lab: leaving %s: %v", n.Name, err) // the thread stays locked and dies with its goroutine
		}
		runtime.UnlockOSThread()
	}()
	f()
}

// Link joins two hosts by a cable; device names are unique within a host.
func (l *Lab) Link(a *Namespace, deviceA string, b *Namespace, deviceB string) {
	l.Helper()
	if out, err := exec.Command("ip", "link", "add", deviceA, "netns", a.Name, "type", "veth",
		"peer", "name", deviceB, "netns", b.Name).CombinedOutput(); err != nil {
		l.Fatalf("lab: linking %s and %s: %v\n%s", a.role, b.role, err, out)
	}
	a.Run("ip", "link", "set", deviceA, "up")
	b.Run("ip", "link", "set", deviceB, "up")
}

// awaitLinks waits until every device of every host is operational. The kernel
// notices that some time after both ends of a cable are up.
func (l *Lab) awaitLinks() {
	l.Helper()
	for _, n := range l.names {
		l.Await(Patience, n.role+" has its links", func() (ok bool, saw string) {
			n.Do(func() {
				devices, err := net.Interfaces()
				ok, saw = err == nil, fmt.Sprint(err)
				for _, d := range devices {
					if d.Flags&net.FlagUp != 0 && d.Flags&net.FlagRunning == 0 {
						ok, saw = false, fmt.Sprintf("%s: %v", d.Name, d.Flags)
					}
				}
			})
			return ok, saw
		})
	}
}

// Address gives a device addresses, each with its prefix length.
func (n *Namespace) Address(device string, addresses ...string) {
	n.lab.Helper()
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			n.lab.Fatalf("lab: %v", err)
		}
		args := []string{"addr", "add", a, "dev", device}
		if p.Addr().Is6() {
			args = append(args, "nodad")
		}
		n.Run("ip", args...)
	}
}

// Route adds a route; prefix is "default" or a CIDR of the gateway's family.
func (n *Namespace) Route(prefix, via string) {
	n.lab.Helper()
	family := "-4"
	if strings.Contains(via, ":") {
		family = "-6"
	}
	n.Run("ip", family, "route", "add", prefix, "via", via)
}

// MTU sets a device's MTU.
func (n *Namespace) MTU(device string, mtu int) {
	n.lab.Helper()
	n.Run("ip", "link", "set", device, "mtu", strconv.Itoa(mtu))
}
