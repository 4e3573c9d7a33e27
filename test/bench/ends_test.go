package main

import "testing"

func TestCountersOfTheKernel(t *testing.T) {
	const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    3    4    5     6          7         8        9      10   11   12    13    14      15         16
  vpn0:       1       2    3    4    5     6          7         8        9      10   11   77    13    14      15         16
`
	const snmp = `Tcp: RtoAlgorithm RcvbufErrors
Tcp: 1 5
Udp: InDatagrams NoPorts RcvbufErrors SndbufErrors
Udp: 10 20 30 40
UdpLite: InDatagrams RcvbufErrors
UdpLite: 1 2
`
	for _, c := range []struct {
		text, line string
		names      []string
		want       int
	}{
		{dev, "vpn0:", nil, 77},
		{dev, "vpn1:", nil, 0},
		{snmp, "Udp:", []string{"RcvbufErrors"}, 30},
		{snmp, "Udp:", []string{"NoPorts", "SndbufErrors"}, 60},
		{snmp, "TcpExt:", []string{"TCPSACKReorder"}, 0},
		{"Udp: InDatagrams RcvbufErrors\nUdp: 10\n", "Udp:", []string{"RcvbufErrors"}, 0},
	} {
		if got := counted(c.text, c.line, c.names); got != c.want {
			t.Errorf("%s %v: got %d, want %d", c.line, c.names, got, c.want)
		}
	}
}
