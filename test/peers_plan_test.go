package test

import (
	"fmt"
	"slices"
	"testing"

	"vpngw/test/lab"
)

// cell is one tunnel to a real peer.
type cell struct {
	version  int // of IKE
	esn      bool
	initiate bool // vpngw does; else it answers
	udp      bool // ESP in UDP; else protocol 50
	suite    string
	outer6   bool
	inner6   bool
}

// peerSuites are the algorithms of a cell.
var peerSuites = []struct {
	name string
	suites
}{
	{"gcm", suites{ikeEncr: "aes256gcm16", ikeHash: "sha384", ikeGroup: "ecp384", espEncr: "aes256gcm16", espGroup: "ecp384"}},
	{"cbc-sha1", suites{ikeEncr: "aes128", ikeHash: "sha1", ikeGroup: "modp2048", espEncr: "aes128", espHash: "sha1", espGroup: "modp2048"}},
	{"cbc-sha256", suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "ecp256", espEncr: "aes256", espHash: "sha256", espGroup: "ecp256"}},
	{"cbc-sha512", suites{ikeEncr: "aes256", ikeHash: "sha512", ikeGroup: "ecp521", espEncr: "aes256", espHash: "sha512", espGroup: "ecp521"}},
}

// peerSizes are how many values each choice of a cell has. IKEv1 has no extended sequence numbers, so version and numbers are one.
var peerSizes = []int{3, len(peerSuites), 2, 2, 2, 2}

// peerCells are the cells of one peer: each two values of two choices stand together in one of them.
func peerCells() []cell {
	var out []cell
	for _, r := range covering(peerSizes) {
		c := cell{version: 2, esn: r[0] == 0, suite: peerSuites[r[1]].name, initiate: r[2] == 0, udp: r[3] == 1, outer6: r[4] == 1, inner6: r[5] == 1}
		if r[0] == 2 {
			c.version = 1
		}
		out = append(out, c)
	}
	return out
}

// cells are the peer's. kernel-libipsec has no extended sequence numbers.
func (p realPeer) cells() []cell {
	var out []cell
	for _, c := range peerCells() {
		c.esn = c.esn && !p.rooted
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// suites are the cell's algorithms, as vpngw and strongSwan write them. IKEv1's own exchanges know no AEAD, and
// its ESP no elliptic groups in Libreswan.
func (c cell) suites() suites {
	for _, s := range peerSuites {
		if s.name == c.suite {
			if c.version == 1 {
				s.espGroup = "modp2048"
				if aead(s.ikeEncr) {
					s.ikeEncr = "aes256"
				}
			}
			s.initiate = c.initiate
			return s.suites
		}
	}
	panic("no such suite: " + c.suite)
}

func choose(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func (c cell) String() string {
	return fmt.Sprintf("IKEv%d/%s/%s/%s/%s/outer%s/inner%s", c.version, choose(c.initiate, "initiates", "answers"), choose(c.udp, "udp", "raw"), c.suite,
		choose(c.esn, "esn", "noesn"), choose(c.outer6, "6", "4"), choose(c.inner6, "6", "4"))
}

// site is one end of a cell: its gateway's address, the network behind it and a host there.
type site struct{ gateway, subnet, host string }

// sites are the customer's end, which is vpngw's, and the cloud's.
func (c cell) sites() (customer, cloud site) {
	customer, cloud = site{lab.CustomerAddr, lab.CustomerLAN, lab.CustomerHost}, site{lab.CloudAddr, lab.CloudLAN, lab.CloudHost}
	if c.outer6 {
		customer.gateway, cloud.gateway = lab.CustomerAddr6, lab.CloudAddr6
	}
	if c.inner6 {
		customer.subnet, customer.host, cloud.subnet, cloud.host = lab.CustomerLAN6, lab.CustomerHost6, lab.CloudLAN6, lab.CloudHost6
	}
	return customer, cloud
}

// connection is vpngw's end of the cell.
func (c cell) connection() lab.Connection {
	s := c.suites()
	conn := native("row", s)
	customer, cloud := c.sites()
	conn.Native.IKEVersion = c.version
	conn.Native.Local = lab.NativeEnd{Address: customer.gateway, Subnets: []string{customer.subnet}}
	conn.Native.Remote = lab.NativeEnd{Address: cloud.gateway, Subnets: []string{cloud.subnet}}
	if c.version == 2 {
		conn.Native.ESP.ESN = choose(c.esn, "yes", "no")
	}
	if c.udp {
		conn.Encap = "always"
	}
	return conn
}

// The cells of a peer have each pair of two choices.
func TestPeerCellsHaveEveryPair(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range peerCells() {
		values := []string{fmt.Sprint(c.version, c.esn), c.suite, "initiate " + fmt.Sprint(c.initiate), "udp " + fmt.Sprint(c.udp), "outer6 " + fmt.Sprint(c.outer6), "inner6 " + fmt.Sprint(c.inner6)}
		for i, v := range values {
			for _, w := range values[i+1:] {
				seen[v+", "+w] = true
			}
		}
	}
	want := 0
	for i, m := range peerSizes {
		for _, n := range peerSizes[i+1:] {
			want += m * n
		}
	}
	if len(seen) != want {
		t.Errorf("%d pairs, want %d", len(seen), want)
	}
	t.Logf("%d cells for %d pairs", len(peerCells()), want)
}
