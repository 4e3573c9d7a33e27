package lab

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Throughput is the result of one iperf3 run, by the count of the receiver.
type Throughput struct {
	BitsPerSecond float64
	Bytes         int64
	Retransmits   int
	RTT           time.Duration // the mean, as the first stream's sender saw it; 0: it is not known, as with -R
}

func (t Throughput) String() string {
	s := fmt.Sprintf("%.0f Mbit/s (%d MB, %d retransmits", t.BitsPerSecond/1e6, t.Bytes/1e6, t.Retransmits)
	if t.RTT > 0 {
		s += fmt.Sprintf(", RTT %v", t.RTT)
	}
	return s + ")"
}

// IPerf runs one TCP stream from the namespace to an address of another.
// Options are iperf3's for the client ("-R" turns the direction).
func (n *Namespace) IPerf(to *Namespace, address string, d time.Duration, options ...string) Throughput {
	n.lab.Helper()
	server := to.Start("iperf3", "iperf3", "-s", "-1", "-B", address, "--forceflush")
	defer server.end(9)
	n.lab.Await(Patience, "iperf3 listens", func() (bool, string) {
		out, _ := to.Try("ss", "-Hltn", "sport", "=", ":5201")
		return strings.Contains(out, "5201"), server.Log()
	})
	args := append([]string{"-c", address, "-t", strconv.FormatFloat(d.Seconds(), 'f', -1, 64), "-J", "--connect-timeout", "10000"}, options...)
	out, err := n.feed("", d+Patience, "iperf3", args...)
	var r struct {
		Error string
		End   struct {
			Received struct {
				Bytes         int64
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sent    struct{ Retransmits int } `json:"sum_sent"`
			Streams []struct {
				Sender struct {
					RTT float64 `json:"mean_rtt"` // µs
				}
			}
		}
	}
	if json.Unmarshal([]byte(out), &r) != nil || err != nil || r.Error != "" {
		n.lab.Fatalf("%s: iperf3 to %s: %v %s\n%s", n.role, address, err, r.Error, tail(out, 20))
	}
	t := Throughput{BitsPerSecond: r.End.Received.BitsPerSecond, Bytes: r.End.Received.Bytes, Retransmits: r.End.Sent.Retransmits}
	if len(r.End.Streams) > 0 {
		t.RTT = time.Duration(r.End.Streams[0].Sender.RTT * float64(time.Microsecond))
	}
	return t
}
