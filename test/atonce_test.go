package test

import (
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"vpngw/test/lab"
)

// slow1 is collideSuites for IKEv1.
var slow1 = row1{suites: suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "modp4096", espEncr: "aes128gcm16", espGroup: "modp4096", initiate: true}}

// beginning is one end that begins when it is told.
type beginning struct {
	down, up func()
	// pairs are its Child SAs by our SPI and theirs, and how many IKE SAs it has or shows.
	pairs func() (spis [][2]string, ikes int)
	begun func() int // IKE SAs that the log speaks of
}

var ispi = regexp.MustCompile("ispi=[0-9a-f]+")

func beginningVpngw(gw *lab.Vpngw) beginning {
	return beginning{
		down: func() { gw.Command("down", "row") },
		up:   func() { gw.Command("up", "row") },
		pairs: func() (spis [][2]string, ikes int) {
			row := gw.Tunnel("row")
			for _, c := range row.Children {
				spis = append(spis, [2]string{c.SPIIn, c.SPIOut})
			}
			if row.IKE != nil {
				ikes = 1 // it shows the one in use
			}
			return spis, ikes
		},
		begun: func() int {
			seen := map[string]bool{}
			for _, spi := range ispi.FindAllString(gw.Log(), -1) {
				seen[spi] = true
			}
			return len(seen)
		},
	}
}

func beginningCharon(c *lab.Charon) beginning {
	return beginning{
		down: func() { c.TerminateIKE("row") },
		up:   func() { c.Initiate("row") }, // it may be refused: the other end was faster
		pairs: func() (spis [][2]string, ikes int) {
			for _, ike := range c.SAs() {
				if ike.State == "ESTABLISHED" { // its own attempt, which we have refused, goes on for minutes
					ikes++
				}
				for _, child := range ike.Children {
					spis = append(spis, [2]string{child.SPIIn, child.SPIOut})
				}
			}
			return spis, ikes
		},
	}
}

// Both ends begin at the same moment, again and again: each time there is one pair of Child SAs in the end, and it carries.
func TestBothEndsBeginAtOnce(t *testing.T) {
	t.Parallel()
	rounds := map[int]int{1: 2, 2: 5} // two ISAKMP SAs stay side by side for 20 s
	if soak {
		rounds = map[int]int{1: 50, 2: 50}
	}
	for version, name := range map[int]string{1: "IKEv1", 2: "IKEv2"} {
		ours, theirs := native("row", collideSuites), strongswan("row", collideSuites)
		if version == 1 {
			ours, theirs = native1("row", slow1), strongswan1("row", slow1)
		}
		ours.Native.Initiate, ours.Start = nil, "active"
		for _, peer := range []string{"vpngw", "strongSwan"} {
			t.Run(name+" with "+peer, func(t *testing.T) {
				t.Parallel()
				var n *lab.Net
				var a, b beginning
				if peer == "vpngw" {
					n = lab.Direct(t)
					b = beginningVpngw(n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(ours)}}))
				} else {
					n = lab.Direct(t, lab.CharonTools...)
					theirs.Unique = "replace"
					cloud := charon1(n.Cloud)
					cloud.PSK(psk)
					cloud.Load(theirs)
					b = beginningCharon(cloud)
				}
				a = beginningVpngw(n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{ours}}))
				met := 0
				var longest time.Duration
				for i := range rounds[version] {
					a.down()
					b.down()
					n.Await(lab.Patience, "nothing is left", func() (bool, string) {
						p, _ := a.pairs()
						q, ikes := b.pairs()
						return len(p) == 0 && len(q) == 0 && ikes == 0, fmt.Sprint(p, q, ikes)
					})
					before, start := a.begun(), time.Now()
					var wg sync.WaitGroup
					wg.Go(a.up)
					wg.Go(b.up)
					wg.Wait()
					one := func() (bool, string) {
						p, _ := a.pairs()
						q, ikes := b.pairs()
						return len(p) == 1 && len(q) == 1 && p[0] == [2]string{q[0][1], q[0][0]} && ikes == 1, fmt.Sprint(p, q, ikes)
					}
					n.Await(within(40*time.Second), fmt.Sprintf("one pair in round %d", i+1), one)
					// Two that were begun at once may both come only now.
					time.Sleep(2 * time.Second)
					n.Await(within(40*time.Second), fmt.Sprintf("one pair still in round %d", i+1), one)
					longest = max(longest, time.Since(start))
					n.Host.Reaches(lab.CloudHost)
					if a.begun()-before > 1 {
						met++
					}
				}
				t.Logf("one pair in %d of %d rounds, in %d of which both had begun an IKE SA; the slowest took %v",
					rounds[version], rounds[version], met, longest.Round(10*time.Millisecond))
			})
		}
	}
}
