package lab

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Pings is what a run of pings came to.
type Pings struct {
	Sent, Received, Duplicates int
	Output                     string
}

// Lost is how many went unanswered.
func (p Pings) Lost() int { return p.Sent - p.Received }

func (p Pings) String() string { return fmt.Sprintf("%d of %d lost", p.Lost(), p.Sent) }

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received(?:, \+(\d+) duplicates)?`)

// Ping sends count echo requests, 10 ms apart, and waits up to 10 s for the last
// answer, so that a late one is not a lost one. Options are ping(8)'s.
func (n *Namespace) Ping(to string, count int, options ...string) Pings {
	n.lab.Helper()
	args := append([]string{"-n", "-i", "0.01", "-W", "10", "-c", strconv.Itoa(count)}, options...)
	out, err := n.feed("", time.Minute+time.Duration(count)*100*time.Millisecond, "ping", append(args, to)...)
	m := pingSummary.FindStringSubmatch(out)
	if m == nil {
		n.lab.Fatalf("%s: ping %s: %v\n%s", n.role, to, err, tail(out, 10))
	}
	p := Pings{Output: out}
	p.Sent, _ = strconv.Atoi(m[1])
	p.Received, _ = strconv.Atoi(m[2])
	p.Duplicates, _ = strconv.Atoi(m[3])
	return p
}

// Pings reports whether an answer comes.
func (n *Namespace) Pings(to string) bool {
	_, err := n.Try("ping", "-n", "-c", "1", "-W", "1", to)
	return err == nil
}

// Reaches waits until the host answers one ping.
func (n *Namespace) Reaches(to string) {
	n.lab.Helper()
	n.lab.Await(Patience, n.role+" reaches "+to, func() (bool, string) {
		out, err := n.Try("ping", "-n", "-c", "1", "-W", "1", to)
		return err == nil, out
	})
}
