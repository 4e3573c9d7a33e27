package test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"vpngw/test/lab"
)

// captured is a row of what is captured and read by Wireshark.
type captured struct {
	version int
	suites
	peer   string // strongSwan, in UDP; or vpngw
	udp    bool   // vpngw and vpngw: in UDP, not raw
	esn    bool   // as the two negotiate it
	before bool   // the capture begins before the tunnel does
}

func (c captured) String() string {
	how := "raw"
	if c.udp || c.peer == "strongSwan" {
		how = "UDP"
	}
	return fmt.Sprintf("IKEv%d with %s, %s, %s, esn %v, from the begin %v", c.version, c.peer, how, c.esp(), c.esn, c.before)
}

var (
	gcmSuites = suites{ikeEncr: "aes256gcm16", ikeHash: "sha256", ikeGroup: "x25519", espEncr: "aes128gcm16", initiate: true}
	cbcSuites = suites{ikeEncr: "aes128", ikeHash: "sha256", ikeGroup: "ecp256", espEncr: "aes256", espHash: "sha256", espGroup: "ecp256", initiate: true}
	gcm1      = suites{ikeEncr: "aes256", ikeHash: "sha256", ikeGroup: "modp2048", espEncr: "aes128gcm16", initiate: true}
	cbc1      = suites{ikeEncr: "aes128", ikeHash: "sha1", ikeGroup: "modp2048", espEncr: "aes128", espHash: "sha1", espGroup: "modp2048", initiate: true}
)

// With the keys of `vpngw capture` tshark decrypts all of its outer interface, which is then its inner one; and the inner one
// is what the host behind the gateway sends and gets, byte by byte.
func TestACaptureIsReadable(t *testing.T) {
	t.Parallel()
	rows := []captured{
		{version: 2, suites: gcmSuites, peer: "vpngw", udp: true},
		{version: 2, suites: gcmSuites, peer: "vpngw"},
		{version: 2, suites: gcmSuites, peer: "vpngw", esn: true},
		{version: 2, suites: cbcSuites, peer: "vpngw", before: true},
		{version: 2, suites: cbcSuites, peer: "vpngw", udp: true, esn: true},
		{version: 2, suites: gcmSuites, peer: "strongSwan"},
		{version: 2, suites: cbcSuites, peer: "strongSwan"},
		{version: 1, suites: gcm1, peer: "strongSwan", before: true},
		{version: 1, suites: cbc1, peer: "strongSwan", before: true},
		{version: 1, suites: gcm1, peer: "vpngw", before: true},
		{version: 1, suites: cbc1, peer: "vpngw", udp: true, before: true},
	}
	if !soak {
		rows = rows[:1]
	}
	for _, c := range rows {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			captureIsReadable(t, c)
		})
	}
}

func captureIsReadable(t *testing.T, c captured) {
	n := lab.Direct(t, append(lab.CharonTools, "tcpdump", "tshark", "ethtool")...)
	conn := native("row", c.suites)
	if c.version == 1 {
		conn = native1("row", row1{suites: c.suites})
	} else if !c.esn {
		conn.Native.ESP.ESN = "no"
	}
	if c.udp {
		conn.Encap = "always"
	}
	switch {
	case c.peer == "vpngw":
		n.Cloud.Vpngw(lab.Config{Connections: []lab.Connection{mirror(conn)}})
	case c.version == 1:
		cloud := charon1(n.Cloud)
		cloud.PSK(psk, lab.CloudAddr, lab.CustomerAddr)
		cloud.Load(strongswan1("row", row1{suites: c.suites}))
	default:
		cloud := n.Cloud.Charon()
		cloud.PSK(psk)
		cloud.Load(strongswan("row", c.suites))
	}
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{conn}})
	gw.AwaitUp("row")

	// The host's cable has the packets as they are. The gateway joins what it gets, and cuts what it sends.
	n.Host.Run("ethtool", "-K", "eth0", "tso", "off", "gso", "off", "tx", "off", "gro", "off")
	n.Customer.Run("ethtool", "-K", "lan", "tso", "off", "gso", "off", "tx", "off", "gro", "on")
	cable := n.Host.Capture("eth0", "net 10.10.0.0/16")
	n.Customer.Run("ethtool", "-K", "wan", "tx-udp-segmentation", "on")

	if c.before {
		gw.Command("down", "row")
		gw.AwaitState("row", "down", lab.Patience)
	}
	record := gw.Capture("row", "--for", "5m")
	if c.before {
		gw.Command("up", "row")
		gw.AwaitUp("row")
	}
	exposed(t, gw)
	n.Host.Reaches(lab.CloudHost)
	size := 1 << 17
	if soak {
		size = 1 << 20
	}
	traffic := func() {
		if p := n.Host.Ping(lab.CloudHost, 20, lab.Echo{Size: 1200}); p.Lost() != 0 {
			t.Errorf("ping: %v", p)
		}
		if got := n.Host.Transfer(n.CloudHost, lab.CloudHost, size); got != int64(size) {
			t.Errorf("%d bytes to the cloud", got)
		}
		if got := n.CloudHost.Transfer(n.Host, lab.CustomerHost, size); got != int64(size) {
			t.Errorf("%d bytes from the cloud", got)
		}
	}
	traffic()
	for _, ike := range []bool{false, true} {
		before := gw.Tunnel("row")
		if err := gw.Rekey("row", ike); err != nil {
			t.Fatal(err)
		}
		gw.AwaitRekey(before, ike)
	}
	size = 1 << 15
	traffic()
	lan := packetsOf(t, cable.Stop(), "")
	said := record.Stop()
	if !strings.Contains(said, " 0 dropped") || !strings.Contains(said, "WARNING") {
		t.Errorf("the capture says\n%s", said)
	}
	for _, path := range []string{record.File, record.Keys + "/esp_sa"} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}

	inner := packetsOf(t, record.File, "inner")
	clear := decrypted(t, n, record, c)
	t.Logf("%d packets on the cable, %d inside, %d decrypted", len(lan), len(inner), len(clear))
	for i := range lan {
		lan[i] = hop(lan[i], lab.CustomerLAN)
	}
	for i := range inner {
		inner[i] = hop(inner[i], lab.CloudLAN)
	}
	same(t, "the cable and the inner interface", lan, inner)
	for i := range clear {
		clear[i] = unclamped(hop(clear[i], lab.CloudLAN))
	}
	for i := range inner {
		inner[i] = unclamped(inner[i])
	}
	same(t, "the decrypted outer interface and the inner one", clear, inner)
	ikeIsClear(t, n, record, c)
}

// exposed checks that the status says what becomes of the tunnel's packets and keys.
func exposed(t *testing.T, gw *lab.Vpngw) {
	t.Helper()
	out := gw.Command("status")
	for _, line := range []string{"row: its packets are recorded", "row: its keys are written down"} {
		if !strings.Contains(out, line) {
			t.Errorf("status has no %q:\n%s", line, out)
		}
	}
}

// packetsOf reads the IPv4 packets between the hosts from a capture file, from an interface of that name if it has names.
func packetsOf(t *testing.T, path, iface string) (out [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const ethernet = 14
	if iface == "" {
		r, err := pcapgo.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		eachPacket(t, r, func(data []byte, _ gopacket.CaptureInfo) {
			if len(data) > ethernet && data[ethernet]>>4 == 4 && data[12] == 8 {
				out = append(out, data[ethernet:])
			}
		})
		return out
	}
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	eachPacket(t, r, func(data []byte, ci gopacket.CaptureInfo) {
		if in, _ := r.Interface(ci.InterfaceIndex); in.Name == iface && len(data) > 20 && data[0]>>4 == 4 && ofTheHosts(data) {
			out = append(out, data)
		}
	})
	return out
}

func eachPacket(t *testing.T, r gopacket.PacketDataSource, take func([]byte, gopacket.CaptureInfo)) {
	t.Helper()
	for {
		data, ci, err := r.ReadPacketData()
		if err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		take(data, ci)
	}
}

func sender(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[12:])) }

func ofTheHosts(b []byte) bool {
	a, z := sender(b), netip.AddrFrom4([4]byte(b[16:]))
	customer, cloud := netip.MustParsePrefix(lab.CustomerLAN), netip.MustParsePrefix(lab.CloudLAN)
	return customer.Contains(a) && cloud.Contains(z) || cloud.Contains(a) && customer.Contains(z)
}

// hop is a packet behind one more router, if it comes from a network.
func hop(b []byte, from string) []byte {
	if !netip.MustParsePrefix(from).Contains(sender(b)) {
		return b
	}
	b = slices.Clone(b)
	b[8]--
	clear(b[10:12])
	binary.BigEndian.PutUint16(b[10:], lab.Checksum(b[:int(b[0]&15)*4]))
	return b
}

// unclamped is a TCP SYN without its MSS, which a tunnel may lower; other packets are as they are.
func unclamped(b []byte) []byte {
	t := int(b[0]&15) * 4
	const syn, mss = 2, 2
	if b[9] != 6 || len(b) < t+24 || b[t+13]&syn == 0 || b[t+20] != mss {
		return b
	}
	b = slices.Clone(b)
	clear(b[t+22 : t+24])
	clear(b[t+16 : t+18])
	return b
}

// same checks that two lists have the same packets, in whatever order.
func same(t *testing.T, what string, a, b [][]byte) {
	t.Helper()
	count := map[string]int{}
	for _, p := range a {
		count[string(p)]++
	}
	for _, p := range b {
		count[string(p)]--
	}
	differ := 0
	for p, n := range count {
		if n != 0 {
			if differ++; differ < 6 {
				t.Errorf("%s: %+d of %x", what, n, p[:min(len(p), 80)])
			}
		}
	}
	if differ > 0 || len(a) < 100 {
		t.Errorf("%s: %d of %d and %d packets differ", what, differ, len(a), len(b))
	}
}

var dataSource = regexp.MustCompile(`^(.+) \((\d+) bytes\):$`)

// decrypted are the packets that tshark finds inside ESP. It fails the test for what it cannot decrypt.
func decrypted(t *testing.T, n *lab.Net, record *lab.CaptureCommand, c captured) (out [][]byte) {
	t.Helper()
	outer := `frame.interface_name == "outer" && esp`
	icvs := n.TsharkWith(record.Keys, record.File, "-Y", outer, "-T", "fields", "-e", "frame.number", "-e", "esp.icv_good")
	total, good := strings.Count(icvs, "\n"), strings.Count(icvs, "\t1\n")
	var data []byte
	open, opened := false, 0
	end := func() {
		if open && len(data) > 20 && data[0]>>4 == 4 {
			opened++
			if data = data[:binary.BigEndian.Uint16(data[2:])]; ofTheHosts(data) {
				out = append(out, data)
			}
		}
		open, data = false, nil
	}
	for line := range strings.Lines(n.TsharkWith(record.Keys, record.File, "-Y", outer, "-x")) {
		line = strings.TrimRight(line, "\n")
		if m := dataSource.FindStringSubmatch(line); m != nil {
			end()
			open = m[1] == "Decrypted Data"
			continue
		}
		if open && len(line) > 6 {
			b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[4:min(len(line), 54)]), " ", ""))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			data = append(data, b...)
		}
	}
	end()
	t.Logf("%d ESP packets, %d decrypted, %d ICVs good", total, opened, good)
	// Wireshark 4.0 does not know the upper half of an ESN, which the ICV covers.
	if opened != total || total == 0 || good != total && !c.esn {
		t.Errorf("%d ESP packets, %d decrypted, %d ICVs good", total, opened, good)
	}
	return out
}

// ikeIsClear checks that tshark reads every encrypted message of IKE.
func ikeIsClear(t *testing.T, n *lab.Net, record *lab.CaptureCommand, c captured) {
	t.Helper()
	filter, inside := "isakmp.exchangetype >= 35", "isakmp.enc.decrypted"
	if c.version == 1 {
		filter, inside = "isakmp.flag_e == 1", "isakmp.hash"
	}
	total, bad := 0, 0
	for line := range strings.Lines(n.TsharkWith(record.Keys, record.File, "-Y", filter, "-T", "fields", "-e", "frame.number", "-e", "isakmp.exchangetype", "-e", inside, "-e", "_ws.malformed")) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		total++
		if f[2] == "" || f[3] != "" {
			bad++
			t.Errorf("a message that tshark cannot read: %q", line)
		}
	}
	t.Logf("%d encrypted messages of IKE, %d of them not read", total, bad)
	if total < 4 {
		t.Errorf("only %d messages of IKE", total)
	}
}
