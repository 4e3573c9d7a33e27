package sa

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpngw/ipsec"
)

// capture is a pcap file of raw IP packets between two fixed addresses.
type capture struct{ bytes.Buffer }

var (
	alice = netip.MustParseAddr("192.0.2.1")
	bob   = netip.MustParseAddr("192.0.2.2")
)

func newCapture() *capture {
	var c capture
	const linkTypeRaw = 101
	for _, v := range []uint32{0xa1b2c3d4, 4<<16 | 2, 0, 0, 65535, linkTypeRaw} {
		binary.Write(&c, binary.BigEndian, v)
	}
	return &c
}

func ipv4(from, to netip.Addr, protocol byte, payload []byte) []byte {
	h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	return slices.Concat(h, from.AsSlice(), to.AsSlice(), payload)
}

func (c *capture) add(from, to netip.Addr, protocol byte, payload []byte) {
	packet := ipv4(from, to, protocol, payload)
	for _, v := range []uint32{0, 0, uint32(len(packet)), uint32(len(packet))} {
		binary.Write(c, binary.BigEndian, v)
	}
	c.Write(packet)
}

func (c *capture) addIKE(from, to netip.Addr, message []byte) {
	h := []byte{1, 0xf4, 1, 0xf4, 0, 0, 0, 0} // ports 500
	binary.BigEndian.PutUint16(h[4:], uint16(8+len(message)))
	c.add(from, to, 17, append(h, message...))
}

// tshark reads a capture, with key tables in a profile of its own. Its complaints about
// the tables fail the test.
func tshark(t *testing.T, c *capture, tables map[string]string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	dir := t.TempDir()
	profile := filepath.Join(dir, "profiles", "keys")
	if err := os.MkdirAll(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, rows := range tables {
		if err := os.WriteFile(filepath.Join(profile, name), []byte(rows), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "capture.pcap")
	if err := os.WriteFile(file, c.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"-C", "keys", "-r", file}, args...)...)
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || strings.Contains(stderr.String(), "Error loading") {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	return string(out)
}

// informational is an encrypted INFORMATIONAL message with one Notify.
func informational(t *testing.T, c *Cipher, spi uint64, response bool) []byte {
	t.Helper()
	const initiator, isResponse = 0x08, 0x20
	flags := byte(initiator)
	if response {
		flags = isResponse
	}
	plain := []byte{0, 0, 0, 12, 0, 0, 0x40, 0x01, 0, 0, 0, 10} // N(SET_WINDOW_SIZE)
	size := c.Size(len(plain))
	m := binary.BigEndian.AppendUint64(nil, spi)
	m = binary.BigEndian.AppendUint64(m, ^spi)
	m = append(m, 46, 0x20, 37, flags, 0, 0, 0, 9)
	m = binary.BigEndian.AppendUint32(m, uint32(28+4+size))
	m = append(m, 41, 0)
	m = binary.BigEndian.AppendUint16(m, uint16(4+size))
	m, err := c.Seal(m, plain, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tshark is an independent implementation, so this also proves Seal for every suite
// that it knows.
func TestTsharkDecryptsIKEOfEverySuite(t *testing.T) {
	c := newCapture()
	var table bytes.Buffer
	var want []string
	for i, s := range suites() {
		spi := uint64(0x1111_0000_0000_0000 + i)
		ei, ai := keys(s, 1)
		er, ar := keys(s, 2)
		if err := LogIKE(&table, spi, ^spi, s, ei, er, ai, ar); err != nil {
			t.Fatal(err)
		}
		if _, known := ikeEncr[s.Encr]; !known {
			continue
		}
		c.addIKE(alice, bob, informational(t, mustCipher(t, s, 1), spi, false))
		c.addIKE(bob, alice, informational(t, mustCipher(t, s, 2), spi, true))
		line := fmt.Sprintf("%016x\t16385", spi)
		want = append(want, line, line)
	}
	out := tshark(t, c, map[string]string{"ikev2_decryption_table": table.String()},
		"-T", "fields", "-e", "isakmp.ispi", "-e", "isakmp.notify.msgtype")
	got := strings.Split(strings.TrimSpace(out), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("tshark sees\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	details := tshark(t, c, map[string]string{"ikev2_decryption_table": table.String()}, "-V")
	if n := strings.Count(details, "Integrity Checksum Data"); n != len(want) {
		t.Errorf("tshark finds %d checksums in %d messages", n, len(want))
	}
	if n := strings.Count(details, "[correct]"); n != len(want) {
		t.Errorf("tshark finds %d of %d checksums correct", n, len(want))
	}
}

func TestTsharkTakesEveryESPRow(t *testing.T) {
	c := newCapture()
	var table bytes.Buffer
	n := 0
	for _, s := range suites() {
		for _, trunc := range []bool{false, true} {
			if trunc && s.Integ.ID != ipsec.IntegSHA256_128 {
				continue
			}
			child := childOf(s, uint32(0x1000+n), trunc)
			if err := LogESP(&table, child); err != nil {
				t.Fatal(err)
			}
			if _, known := espEncr[s.Encr.ID]; !known {
				continue
			}
			c.add(alice, bob, 50, espPacket(t, s, child.SPIOut, 1, trunc))
			c.add(bob, alice, 50, espPacket(t, s, child.SPIIn, 2, trunc))
			n++
		}
	}
	out := tshark(t, c, map[string]string{"esp_sa": table.String()},
		"-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE",
		"-T", "fields", "-e", "esp.spi", "-e", "udp.payload", "-e", "esp.icv_good")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2*n {
		t.Fatalf("%d lines for %d packets:\n%s", len(lines), 2*n, out)
	}
	for _, l := range lines {
		f := strings.Split(l, "\t")
		if len(f) != 3 || f[1] != fmt.Sprintf("%x", espText) || f[2] != "1" && f[2] != "True" {
			t.Errorf("tshark sees %q", l)
		}
	}
}

func childOf(s ipsec.Suite, spi uint32, trunc bool) *ipsec.ChildSA {
	child := &ipsec.ChildSA{
		SPIOut: spi, SPIIn: spi | 0x80000000, Suite: s, Trunc96: trunc,
		Path: ipsec.Path{Local: netip.AddrPortFrom(alice, 0), Remote: netip.AddrPortFrom(bob, 0)},
	}
	child.Out.Encr, child.Out.Integ = keys(s, 1)
	child.In.Encr, child.In.Integ = keys(s, 2)
	return child
}

const espText = "sixteen bytes ok"

// espPacket is a UDP datagram within IPv4 within ESP (RFC 4303, RFC 4106), made with
// the parts of a Cipher.
func espPacket(t *testing.T, s ipsec.Suite, spi uint32, seed byte, trunc bool) []byte {
	t.Helper()
	udp := append([]byte{0x30, 0x39, 0x30, 0x39, 0, 24, 0, 0}, espText...)
	plain := ipv4(alice, bob, 17, udp)

	c := mustCipher(t, s, seed)
	pad := byte(0)
	for (len(plain)+2)%max(c.alg.Block, 4) != 0 {
		pad++
		plain = append(plain, pad)
	}
	plain = append(plain, pad, 4)

	head := binary.BigEndian.AppendUint32(nil, spi)
	head = binary.BigEndian.AppendUint32(head, 1)
	if trunc {
		c.icv = 12
	}
	return sealRaw(t, c, head, plain)
}

func TestKeyLogLines(t *testing.T) {
	gcm := ipsec.Suite{Encr: ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 128}}
	chacha := ipsec.Suite{Encr: ipsec.Transform{Type: ipsec.Encr, ID: ipsec.EncrChaCha20Poly1305}}
	key := ipsec.Secret{1, 2, 3}
	var b strings.Builder
	LogIKE(&b, 1, 0xff00000000000000, gcm, key, key, nil, nil)
	LogIKE(&b, 1, 2, chacha, key, key, nil, nil)
	child := childOf(gcm, 0x1234, false)
	child.Out.Encr, child.In.Encr = key, key
	LogESP(&b, child)
	child.Path.Local = netip.AddrPort{}
	child.Path.Remote = netip.MustParseAddrPort("[2001:db8::2]:4500")
	LogESP(&b, child)
	child.Path.Local, child.Follow = netip.MustParseAddrPort("192.0.2.1:4500"), true
	LogESP(&b, child)
	want := `0000000000000001,ff00000000000000,010203,010203,"AES-GCM-128 with 16 octet ICV [RFC5282]",,,"NONE [RFC4306]"
# 0000000000000001,0000000000000002,010203,010203,"chacha20poly1305",,,"NONE [RFC4306]"
"IPv4","192.0.2.1","192.0.2.2","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0x010203","NULL",""
"IPv4","192.0.2.2","192.0.2.1","0x80001234","AES-GCM with 16 octet ICV [RFC4106]","0x010203","NULL",""
"IPv6","*","2001:db8::2","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0x010203","NULL",""
"IPv6","2001:db8::2","*","0x80001234","AES-GCM with 16 octet ICV [RFC4106]","0x010203","NULL",""
"IPv6","192.0.2.1","*","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0x010203","NULL",""
"IPv6","*","192.0.2.1","0x80001234","AES-GCM with 16 octet ICV [RFC4106]","0x010203","NULL",""
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if LogIKE(nil, 1, 2, gcm, key, key, nil, nil) != nil || LogESP(nil, child) != nil {
		t.Error("a nil Writer is an error")
	}
}
