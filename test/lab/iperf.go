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
}

func (t Throughput) String() string {
	return fmt.Sprintf("%.0f Mbit/s (%d MB, %d retransmits)", t.BitsPerSecond/1e6, t.Bytes/1e6, t.Retransmits)
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
			Sent struct{ Retransmits int } `json:"sum_sent"`
		}
	}
	if json.Unmarshal([]byte(out), &r) != nil || err != nil || r.Error != "" {
		n.lab.Fatalf("%s: iperf3 to %s: %v %s\n%s", n.role, address, err, r.Error, tail(out, 20))
	}
	return Throughput{r.End.Received.BitsPerSecond, r.End.Received.Bytes, r.End.Sent.Retransmits}
}
