package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vpngw/test/lab"
)

// far is a link between two ends that are far from each other, carried by command delay.
type far struct {
	roundTrip time.Duration
	loss      float64       // part of the packets, in each direction
	rate      float64       // Mbit/s; 0: without a limit
	queue     time.Duration // in front of the rate
	tcp       string        // congestion control
	buffer    int           // bytes, the largest of a TCP socket, for either direction
	seed      int           // of what is lost
}

func (f far) String() string {
	return fmt.Sprintf("%v, %.4g %% lost", f.roundTrip, 100*f.loss)
}

// apart joins the two ends by a link with a delay, and has their TCP fill such links.
func (s *site) apart(f far) {
	m := s.Namespace("middle")
	for _, d := range []struct {
		ns   *lab.Namespace
		name string
	}{{s.a, "toa"}, {s.b, "tob"}} {
		m.Sysctl("net.ipv6.conf.default.disable_ipv6", "1")
		s.Link(d.ns, "wan", m, d.name)
		m.Run("ip", "link", "set", d.name, "arp", "off")
		buffers := fmt.Sprintf("4096 131072 %d", f.buffer)
		d.ns.Sysctl("net.ipv4.tcp_rmem", buffers)
		d.ns.Sysctl("net.ipv4.tcp_wmem", buffers)
		d.ns.Sysctl("net.ipv4.tcp_no_metrics_save", "1") // or a stream begins with what the one before has learnt
	}
	s.link = m.Start("delay", s.delay, "-delay", (f.roundTrip / 2).String(), "-loss", strconv.FormatFloat(f.loss, 'g', -1, 64),
		"-rate", strconv.FormatFloat(f.rate, 'g', -1, 64), "-queue", f.queue.String(), "-seed", strconv.Itoa(f.seed), "toa", "tob")
	s.link.AwaitLog("ready")
}

// carried is what a link carried in a series, in one direction: see command delay.
type carried struct {
	Packets, Frames, Lost, Dropped, Overrun, Refused uint64
	LateMean, LateP99, LateMax                       float64 // µs
}

// turn has the link begin a series and returns the last one, of both directions.
func (s *site) turn() [2]carried {
	before := strings.Count(s.link.Log(), "\n")
	s.link.Signal(syscall.SIGHUP)
	var out [2]carried
	s.Await(lab.Patience, "the link has begun a series", func() (bool, string) {
		lines := strings.Split(strings.TrimSuffix(s.link.Log(), "\n"), "\n")
		if len(lines) <= before {
			return false, s.link.Log()
		}
		err := json.Unmarshal([]byte(lines[len(lines)-1]), &out)
		return err == nil, fmt.Sprint(err)
	})
	return out
}
