package esp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"vpngw/ipsec"
)

// scapy is an implementation of ESP that has nothing in common with ours.
type scapy struct {
	t       *testing.T
	in      *json.Encoder
	answers *bufio.Scanner
}

// startScapy runs Debian's python3-scapy.
func startScapy(t *testing.T) *scapy {
	const python = "/usr/bin/python3" // Debian's own: scapy is its package
	if err := exec.Command(python, "-c", "import scapy.layers.ipsec, cryptography").Run(); err != nil {
		t.Skip("needs the package python3-scapy")
	}
	cmd := exec.Command(python, "testdata/oracle.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &scapy{t, json.NewEncoder(in), bufio.NewScanner(out)}
}

// request is one line to testdata/oracle.py.
type request struct {
	Op       string `json:"op"`
	SPI      uint32 `json:"spi"`
	Seq      uint32 `json:"seq"`
	Crypt    string `json:"crypt"`
	CryptKey string `json:"crypt_key"`
	Auth     string `json:"auth"`
	AuthKey  string `json:"auth_key"`
	ESN      bool   `json:"esn"`
	ESNHigh  uint32 `json:"esn_high"`
	Packet   string `json:"packet,omitempty"`
	Inner    string `json:"inner,omitempty"`
}

// ask returns the answer's bytes.
func (s *scapy) ask(q request) []byte {
	s.t.Helper()
	if err := s.in.Encode(q); err != nil {
		s.t.Fatal(err)
	}
	if !s.answers.Scan() {
		s.t.Fatalf("scapy ended: %v", s.answers.Err())
	}
	var a struct{ Inner, Packet, Error string }
	if err := json.Unmarshal(s.answers.Bytes(), &a); err != nil || a.Error != "" {
		s.t.Errorf("%s: %v %s", q.Op, err, a.Error)
		return nil
	}
	b, err := hex.DecodeString(a.Inner + a.Packet)
	if err != nil {
		s.t.Error(err)
	}
	return b
}

var scapyNames = map[ipsec.Transform]string{
	{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 128}: "AES-GCM",
	{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 192}: "AES-GCM",
	{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 256}: "AES-GCM",
	{Type: ipsec.Encr, ID: ipsec.EncrChaCha20Poly1305}:       "CHACHA20-POLY1305",
	{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 128}:   "AES-CBC",
	{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 192}:   "AES-CBC",
	{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 256}:   "AES-CBC",
	{Type: ipsec.Encr, ID: ipsec.Encr3DES}:                   "3DES",
	{Type: ipsec.Encr, ID: ipsec.EncrNull}:                   "NULL",
	{Type: ipsec.Integ, ID: ipsec.IntegMD5_96}:               "HMAC-MD5-96",
	{Type: ipsec.Integ, ID: ipsec.IntegSHA1_96}:              "HMAC-SHA1-96",
	{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}:           "SHA2-256-128",
	{Type: ipsec.Integ, ID: ipsec.IntegSHA384_192}:           "SHA2-384-192",
	{Type: ipsec.Integ, ID: ipsec.IntegSHA512_256}:           "SHA2-512-256",
}

// Both ways, with every suite that scapy knows, AES-GCM, AES-CBC with SHA-256
// and 3DES with MD5 among them: scapy reads the packets of the raw socket, and
// the packets that scapy writes reach the TUN.
func TestScapyUnderstandsUs(t *testing.T) {
	sc := startScapy(t)
	ran := 0
	for _, s := range allSuites() {
		crypt, known := scapyNames[s.Encr]
		if !known || s.trunc96 || s.ESN && s.Integ.ID != ipsec.IntegNone { // scapy 2.5.0 leaves ESN out of an HMAC
			continue
		}
		a, b := newEnd(t, 0), newEnd(t, 1)
		sa, _ := couple(t, a, b, s, raw4, nil)
		q := request{
			SPI: sa.SPIOut, Crypt: crypt, CryptKey: hex.EncodeToString(sa.Out.Encr),
			Auth: scapyNames[s.Integ], AuthKey: hex.EncodeToString(sa.Out.Integ), ESN: s.ESN,
		}
		for i, inner := range [][]byte{udpPacket(false, 1, 2, 61), udpPacket(true, 1, 2, 1000), syn(false, 0x10, nil)} {
			q.Op, q.Seq, q.Packet, q.Inner = "open", 0, hex.EncodeToString(a.out(inner)[0].Data), ""
			if got := sc.ask(q); !bytes.Equal(got, inner) {
				t.Errorf("%v: scapy reads %x, want %x", s, got, inner)
			}
			q.Op, q.Seq, q.Packet, q.Inner = "seal", uint32(100+i), "", hex.EncodeToString(inner)
			got := b.in(raw4, from(endAddrs[0][raw4], []ipsec.Datagram{{Data: sc.ask(q)}})...)
			if len(got) != 1 || !bytes.Equal(got[0], inner) {
				t.Errorf("%v: of scapy's packet comes %x, want %x; drops %v", s, got, inner, b.plane.PlaneCounters().Drops)
			}
			ran++
		}
	}
	t.Logf("%d packets each way", ran)
}
