package sa

import (
	"fmt"
	"io"
	"net/netip"

	"vpngw/ipsec"
)

// KeyTable is one of Wireshark's tables of keys, named as its file.
type KeyTable string

const (
	IKEv1Keys KeyTable = "ikev1_decryption_table"
	IKEv2Keys KeyTable = "ikev2_decryption_table"
	ESPKeys   KeyTable = "esp_sa"
)

// KeyLog says where the rows of a table go that hold the keys of an SA of these tunnels; nil: nowhere. A nil KeyLog is
// that too: no key is copied then. Without tunnels the peer of the SA is not known yet.
type KeyLog func(table KeyTable, tunnels ...string) io.Writer

// To is where an SA of these tunnels writes its keys; nil: nowhere.
func (l KeyLog) To(table KeyTable, tunnels ...string) io.Writer {
	if l == nil {
		return nil
	}
	return l(table, tunnels...)
}

// LogAll is a KeyLog of all SAs and tables. w may be nil.
func LogAll(w io.Writer) KeyLog {
	if w == nil {
		return nil
	}
	return func(KeyTable, ...string) io.Writer { return w }
}

// LogIKE writes the keys of an IKE SA as a line of Wireshark's
// ikev2_decryption_table. Whoever has the line can read everything that the SA
// protects. With a nil w it does nothing.
//
// SK_e has an AEAD's salt at its end; Wireshark splits it itself (seen with 4.0). The
// line of an algorithm that Wireshark cannot decrypt (DES, ChaCha20-Poly1305) is a
// comment, because Wireshark ignores the whole file after an unknown name.
func LogIKE(w io.Writer, spiI, spiR uint64, s ipsec.Suite, ei, er, ai, ar ipsec.Secret) error {
	if w == nil {
		return nil
	}
	encr, ok := ikeEncr[s.Encr]
	if !ok {
		encr = s.Encr.String()
	}
	line := fmt.Sprintf("%016x,%016x,%x,%x,%q,%x,%x,%q\n",
		spiI, spiR, []byte(ei), []byte(er), encr, []byte(ai), []byte(ar), ikeInteg[s.Integ])
	return writeLine(w, line, ok)
}

// LogIKEv1 writes the key of an ISAKMP SA as a line of Wireshark's
// ikev1_decryption_table, which has two fields instead of LogIKE's eight. A comment
// before it has SKEYID_a, with which a HASH can be checked.
func LogIKEv1(w io.Writer, spiI uint64, key, a ipsec.Secret) error {
	if w == nil {
		return nil
	}
	_, err := fmt.Fprintf(w, "# SKEYID_a,%016x,%x\n%016x,%x\n", spiI, []byte(a), spiI, []byte(key))
	return err
}

// LogESP writes the keys of a Child SA as two lines of Wireshark's esp_sa table,
// outbound first. They begin with the address family in quotes, which distinguishes
// them from LogIKE's lines in one file. The address of a peer that may move is written as any. Salts and unknown algorithms are written as
// by LogIKE. Wireshark 4.0 decrypts a Child SA with ESN, but does not know the upper
// half of its sequence numbers, so it reports every ICV as wrong.
func LogESP(w io.Writer, c *ipsec.ChildSA) error {
	if w == nil {
		return nil
	}
	local, remote := c.Path.Local.Addr().Unmap(), c.Path.Remote.Addr().Unmap()
	encr, ok := espEncr[c.Suite.Encr.ID]
	if !ok {
		encr = c.Suite.Encr.String()
	}
	integ := espInteg[c.Suite.Integ]
	if c.Trunc96 && c.Suite.Integ.ID == ipsec.IntegSHA256_128 {
		integ = "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]"
	}
	family := "IPv4"
	if remote.Is6() {
		family = "IPv6"
	}
	if c.Follow {
		remote = netip.Addr{}
	}
	line := func(from, to netip.Addr, spi uint32, k ipsec.Keys) string {
		return fmt.Sprintf("%q,%q,%q,\"0x%08x\",%q,%q,%q,%q\n",
			family, orAny(from), orAny(to), spi, encr, hexKey(k.Encr), integ, hexKey(k.Integ))
	}
	if err := writeLine(w, line(local, remote, c.SPIOut, c.Out), ok); err != nil {
		return err
	}
	return writeLine(w, line(remote, local, c.SPIIn, c.In), ok)
}

func writeLine(w io.Writer, line string, known bool) error {
	if !known {
		line = "# " + line
	}
	_, err := io.WriteString(w, line)
	return err
}

// orAny writes an address, or Wireshark's "*" if only the route knows it.
func orAny(a netip.Addr) string {
	if !a.IsValid() {
		return "*"
	}
	return a.String()
}

// hexKey writes a key; an empty key is written as nothing, because Wireshark does not
// take "0x" alone.
func hexKey(k ipsec.Secret) string {
	if len(k) == 0 {
		return ""
	}
	return fmt.Sprintf("0x%x", []byte(k))
}

// Wireshark's names, which must match exactly. A test runs tshark.
var (
	ikeEncr = map[ipsec.Transform]string{
		{Type: ipsec.Encr, ID: ipsec.Encr3DES}:                   "3DES [RFC2451]",
		{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 128}:   "AES-CBC-128 [RFC3602]",
		{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 192}:   "AES-CBC-192 [RFC3602]",
		{Type: ipsec.Encr, ID: ipsec.EncrAESCBC, KeyBits: 256}:   "AES-CBC-256 [RFC3602]",
		{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 128}: "AES-GCM-128 with 16 octet ICV [RFC5282]",
		{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 192}: "AES-GCM-192 with 16 octet ICV [RFC5282]",
		{Type: ipsec.Encr, ID: ipsec.EncrAESGCM16, KeyBits: 256}: "AES-GCM-256 with 16 octet ICV [RFC5282]",
	}
	ikeInteg = map[ipsec.Transform]string{
		{}: "NONE [RFC4306]",
		{Type: ipsec.Integ, ID: ipsec.IntegMD5_96}:     "HMAC_MD5_96 [RFC2403]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA1_96}:    "HMAC_SHA1_96 [RFC2404]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}: "HMAC_SHA2_256_128 [RFC4868]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA384_192}: "HMAC_SHA2_384_192 [RFC4868]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA512_256}: "HMAC_SHA2_512_256 [RFC4868]",
	}
	espEncr = map[uint16]string{
		ipsec.EncrNull:     "NULL",
		ipsec.EncrDES:      "DES-CBC [RFC2405]",
		ipsec.Encr3DES:     "TripleDES-CBC [RFC2451]",
		ipsec.EncrAESCBC:   "AES-CBC [RFC3602]",
		ipsec.EncrAESGCM16: "AES-GCM with 16 octet ICV [RFC4106]",
	}
	espInteg = map[ipsec.Transform]string{
		{}: "NULL",
		{Type: ipsec.Integ, ID: ipsec.IntegMD5_96}:     "HMAC-MD5-96 [RFC2403]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA1_96}:    "HMAC-SHA-1-96 [RFC2404]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA256_128}: "HMAC-SHA-256-128 [RFC4868]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA384_192}: "HMAC-SHA-384-192 [RFC4868]",
		{Type: ipsec.Integ, ID: ipsec.IntegSHA512_256}: "HMAC-SHA-512-256 [RFC4868]",
	}
)
