package test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
	"vpngw/test/lab/numbered"
)

// realPeer is a peer that make peers tries.
type realPeer struct {
	name     string // as PEER chooses it, with the version that it must be
	suite    string // of Debian
	packages []string
	rooted   bool // in a root of its own, with ESP in user space; else in a guest
	daemon   func(box) ikeDaemon
}

var realPeers = []realPeer{
	{name: "strongswan-5.9.8", suite: "bookworm", packages: strongswanPackages, daemon: func(b box) ikeDaemon { return &swan{box: b} }},
	{name: "libreswan-4.10", suite: "bookworm", packages: libreswanPackages, daemon: func(b box) ikeDaemon { return &libre{box: b, rekeyChild: "--rekey-ipsec"} }},
	{name: "strongswan-6.0.1", suite: "trixie", packages: strongswanPackages, daemon: func(b box) ikeDaemon { return &swan{box: b} }},
	{name: "libreswan-5.2", suite: "trixie", packages: libreswanPackages, daemon: func(b box) ikeDaemon { return &libre{box: b, rekeyChild: "--rekey-child"} }},
	{name: "strongswan-6.0.1-user", suite: "trixie", packages: strongswanPackages, rooted: true, daemon: func(b box) ikeDaemon { return &swan{box: b, userSpace: true} }},
}

// peersRate is how many packets a second go each way.
const peersRate = 200

// TestPeers is the table of make peers. PEER chooses peers by the beginning of their names, CELL cells by a part of theirs ("life" and
// "own kind" are cells too).
func TestPeers(t *testing.T) {
	if os.Getenv("PEERS") == "" {
		t.Skip("boots guests with kernels of their own: make peers")
	}
	chosen := func(cell string) bool { return strings.Contains(cell, os.Getenv("CELL")) }
	var cells, lives, owns []string
	for _, p := range realPeers {
		if !chosenPeer(p.name) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			own := ownKind{}
			if chosen("own kind") {
				t.Run("own kind", func(t *testing.T) { own = p.measureOwnKind(t) })
				for _, version := range []int{2, 1} {
					lost, ok := own[version]
					if !ok {
						continue
					}
					owns = append(owns, fmt.Sprintf("| %s | %d | %s |", p.name, version, strings.Trim(strings.ReplaceAll(fmt.Sprint(lost), " ", " | "), "[]")))
				}
			}
			r := p.bringUp(t)
			for _, c := range p.cells() {
				if chosen(c.String()) {
					t.Run(c.String(), func(t *testing.T) { cells = append(cells, r.cell(t, c, own[c.version])) })
				}
			}
			for _, version := range []int{2, 1} {
				if chosen("life") {
					t.Run(fmt.Sprintf("life/IKEv%d", version), func(t *testing.T) { lives = append(lives, r.life(t, version)) })
				}
			}
		})
	}
	table := func(head string, rows []string) string { return head + "\n" + strings.Join(rows, "\n") + "\n" }
	t.Logf("packets lost at rekeys, both ways together:\n\n%s\nagainst its own kind:\n\n%s\n%s", table(cellHead, cells), table(ownHead, owns), table(lifeHead, lives))
}

// chosenPeer reports whether PEER names this peer, or begins its name and is nobody's.
func chosenPeer(name string) bool {
	want := os.Getenv("PEER")
	if slices.ContainsFunc(realPeers, func(p realPeer) bool { return p.name == want }) {
		return name == want
	}
	return strings.HasPrefix(name, want)
}

// reached is a peer that runs, with vpngw's end of its network.
type reached struct {
	realPeer
	n    *lab.Net
	box  box
	d    ikeDaemon
	talk func(local, remote string) lab.Talker // at the peer's host
}

func (p realPeer) bringUp(t *testing.T) *reached {
	t.Helper()
	r := &reached{realPeer: p}
	if p.rooted {
		r.n = lab.Direct(t, "debootstrap")
		r.box, r.talk = r.n.Cloud.Rooted(p.suite, p.packages...), r.n.CloudHost.Talk
	} else {
		r.n = lab.DirectToGuest(t)
		g := r.n.Internet.Guest("peer", "cloud", p.suite, p.packages...)
		r.n.Internet.Address("cloud", "198.51.100.254/24", "2001:db8:a::fe/64")
		bring(g, true)
		r.box, r.talk = g, g.Talk
	}
	r.d = p.daemon(r.box)
	if v := r.d.version(); !strings.HasPrefix(strings.ReplaceAll(strings.ToLower(v), " ", "-"), strings.TrimSuffix(p.name, "-user")) {
		t.Fatalf("%s is %s in Debian's %s now: give it the right name", p.name, v, p.suite)
	}
	return r
}

// phases are the rekeys of a cell. Rekeys of an IKE SA in quick succession, or just after one of a Child SA, make charon forget what it
// wanted to delete (IKEv2) or its Child SAs (IKEv1).
var phases = []struct {
	name  string
	ours  bool
	ike   bool
	turns int
}{
	{"vpngw rekeys the Child SA", true, false, 2},
	{"the peer rekeys the Child SA", false, false, 2},
	{"vpngw rekeys the IKE SA", true, true, 1},
	{"the peer rekeys the IKE SA", false, true, 1},
}

const ownHead = `| peer | IKE | Child by one | Child by the other | IKE by one | IKE by the other |
|---|---|---|---|---|---|`

const cellHead = `| peer | IKE | vpngw | path | ESP | ESN | outside | inside | Child by vpngw | Child by peer | IKE by vpngw | IKE by peer | sent |
|---|---|---|---|---|---|---|---|---|---|---|---|---|`

// cell brings one tunnel up, has both ends rekey it under traffic, and takes it down. own is what the peer loses against its own kind.
func (r *reached) cell(t *testing.T, c cell, own []int) string {
	r.n.Use(t)
	ours, theirs := c.sites()
	r.d.start(c, theirs, ours)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("---- the peer's log ----\n%s", r.d.log())
		}
	})
	gw := r.n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{c.connection()}})
	t.Cleanup(gw.Kill)
	start := time.Now()
	if !c.initiate {
		if err := r.d.initiate(); err != nil {
			t.Fatalf("the peer initiates: %v; vpngw says: %s", err, gw.Tunnel("row").Why)
		}
	}
	up := gw.AwaitUp("row")
	took := time.Since(start)
	if up.IKE.Encap != c.udp || up.IKE.Version != c.version || !strings.HasPrefix(up.Children[0].Proposal, c.suites().espEncr) {
		t.Errorf("IKEv%d, encapsulated: %v, %s", up.IKE.Version, up.IKE.Encap, up.Children[0].Proposal)
	}
	unsent := sendDrops(r.box)
	f := startPeerFlow(r.n, r.n.Host.Talk, ours.host, r.talk, theirs.host)
	t.Cleanup(f.close)
	var lost []string
	for i, p := range phases {
		if i == 0 || p.ike {
			r.settle(gw)
		}
		f.mark()
		for range p.turns {
			before := gw.Tunnel("row")
			rekey := r.d.rekey
			if p.ours {
				rekey = func(ike bool) error { return gw.Rekey("row", ike) }
			}
			if err := rekey(p.ike); err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			gw.AwaitRekey(before, p.ike)
			r.n.Await(lab.Patience, "the peer has done with it", func() (bool, string) {
				_, _, rests, saw := r.d.count()
				return rests, saw
			})
		}
	}
	r.settle(gw)
	for i, n := range f.stop() {
		text := fmt.Sprint(n)
		switch unsent := sendDrops(r.box) - unsent; {
		case n == 0:
		case i < len(own) && n <= own[i]: // as against its own kind
		case n <= unsent:
			text += " (not sent)"
		case n <= 64*f.queues: // a full queue of the kernel on a busy machine is no fault of either end
			text += " (queues)"
		default:
			t.Errorf("%s: %d packets lost", phases[i].name, n)
		}
		lost = append(lost, text)
	}
	if t.Failed() {
		t.Log(gw.Command("counters"))
	}
	gw.Stop()
	r.n.Await(lab.Patience, "the peer has no SA any more", func() (bool, string) {
		ikes, children, _, saw := r.d.count()
		return ikes == 0 && children == 0, saw
	})
	t.Logf("up after %v; %s", took.Round(10*time.Millisecond), f)
	return fmt.Sprintf("| %s | %d | %s | %s | %s | %s | IPv%s | IPv%s | %s | %d |", r.name, c.version, choose(c.initiate, "initiates", "answers"), choose(c.udp, "UDP", "raw"),
		c.suite, choose(c.esn, "yes", "no"), choose(c.outer6, "6", "4"), choose(c.inner6, "6", "4"), strings.Join(lost, " | "), f.sent())
}

// settle waits until both ends have one IKE SA with one Child SA.
func (r *reached) settle(gw *lab.Vpngw) {
	r.n.Helper()
	r.n.Await(lab.Patience, "one pair at each end", func() (bool, string) {
		ours := gw.Tunnel("row").Children
		ikes, children, _, saw := r.d.count()
		return len(ours) == 1 && ikes == 1 && children == 1, fmt.Sprintf("ours %+v\ntheirs %s", ours, saw)
	})
}

// peerFlow is numbered packets both ways, with marks between which its losses are counted.
type peerFlow struct {
	lab    *lab.Net
	a, b   lab.Talker
	marks  [][2]int
	ra, rb numbered.Report
	queues int // packets that full queues of devices have dropped
}

func startPeerFlow(n *lab.Net, talkA func(local, remote string) lab.Talker, hostA string, talkB func(local, remote string) lab.Talker, hostB string) *peerFlow {
	n.Helper()
	at := func(host string) string {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return host + ":9000"
	}
	f := &peerFlow{lab: n, a: talkA(at(hostA), at(hostB)), b: talkB(at(hostB), at(hostA))}
	f.queues = n.DeviceDrops()
	f.a.Start(peersRate)
	f.b.Start(peersRate)
	n.Await(lab.Patience, "packets arrive at both ends", func() (bool, string) {
		f.ra, f.rb = f.a.Report(), f.b.Report()
		return f.ra.Received > peersRate/10 && f.rb.Received > peersRate/10, fmt.Sprintf("%+v\n%+v", f.ra, f.rb)
	})
	return f
}

func (f *peerFlow) mark() { f.marks = append(f.marks, [2]int{f.a.Report().Sent, f.b.Report().Sent}) }

// stop ends the flow and returns how many packets were lost behind each mark, either way.
func (f *peerFlow) stop() []int {
	f.lab.Helper()
	f.a.Halt()
	f.b.Halt()
	for last, same := -1, 0; same < 5; { // until nothing has come for half a second
		f.ra, f.rb = f.a.Report(), f.b.Report()
		if now := f.ra.Received + f.rb.Received; now == last {
			same++
		} else {
			last, same = now, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.close()
	f.queues = max(0, f.lab.DeviceDrops()-f.queues)
	out := make([]int, len(f.marks))
	count := func(lost []int, end int) {
		for _, n := range lost {
			for i := len(f.marks) - 1; i >= 0; i-- {
				if n >= f.marks[i][end] {
					out[i]++
					break
				}
			}
		}
	}
	count(numbered.Lost(f.ra, f.rb), 0)
	count(numbered.Lost(f.rb, f.ra), 1)
	return out
}

func (f *peerFlow) close() {
	if f.a != nil {
		f.ra, f.rb = f.a.Close(), f.b.Close()
		f.a, f.b = nil, nil
	}
}

func (f *peerFlow) sent() int { return f.ra.Sent + f.rb.Sent }

func (f *peerFlow) String() string {
	return fmt.Sprintf("there: %d sent, lost [%s]; back: %d sent, lost [%s]; duplicated %d; queues dropped %d; marks %v", f.ra.Sent, numbered.Ranges(numbered.Lost(f.ra, f.rb)),
		f.rb.Sent, numbered.Ranges(numbered.Lost(f.rb, f.ra)), f.ra.Duplicated+f.rb.Duplicated, f.queues, f.marks)
}
