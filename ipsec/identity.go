package ipsec

import (
	"encoding/hex"
	"net/netip"
	"strings"
)

// IDType is an IKE identification type (RFC 7296 section 3.5; the numbers are
// IKEv1's too).
type IDType uint8

const (
	IDIPv4  IDType = 1
	IDFQDN  IDType = 2
	IDEmail IDType = 3 // ID_RFC822_ADDR, IKEv1's ID_USER_FQDN
	IDIPv6  IDType = 5
	IDDN    IDType = 9
	IDKeyID IDType = 11
)

func (t IDType) String() string {
	switch t {
	case IDIPv4:
		return "IPv4 address"
	case IDFQDN:
		return "FQDN"
	case IDEmail:
		return "e-mail address"
	case IDIPv6:
		return "IPv6 address"
	case IDDN:
		return "distinguished name"
	case IDKeyID:
		return "key id"
	}
	return "id type " + hex.EncodeToString([]byte{byte(t)})
}

// AnyIdentity is configured where any identity of a peer is accepted. It is never sent.
var AnyIdentity = Identity{Type: 0xff}

// Welcomes reports whether who is accepted as the peer that is configured as id.
func (id Identity) Welcomes(who Identity) bool { return id == AnyIdentity || id.Same(who) }

// Same reports whether two identities name one end. Names of hosts, also in e-mail addresses, are the same in small and
// capital letters (RFC 1035 section 2.3.3); what is authenticated is each end's own bytes.
func (id Identity) Same(other Identity) bool {
	if id == other || id.Type != other.Type {
		return id == other
	}
	switch id.Type {
	case IDFQDN:
		return sameFolded(id.Data, other.Data)
	case IDEmail:
		a, b := strings.LastIndexByte(id.Data, '@')+1, strings.LastIndexByte(other.Data, '@')+1
		return id.Data[:a] == other.Data[:b] && sameFolded(id.Data[a:], other.Data[b:])
	}
	return false
}

// Folded is the identity in small letters where Same takes them for the same: two are the Same if their Folded are equal.
func (id Identity) Folded() Identity {
	switch id.Type {
	case IDFQDN:
		id.Data = folded(id.Data)
	case IDEmail:
		at := strings.LastIndexByte(id.Data, '@') + 1
		id.Data = id.Data[:at] + folded(id.Data[at:])
	}
	return id
}

func folded(s string) string {
	for i := range len(s) {
		if small(s[i]) != s[i] {
			b := []byte(s)
			for i, c := range b {
				b[i] = small(c)
			}
			return string(b)
		}
	}
	return s
}

// sameFolded reports whether two names differ in the size of ASCII letters at most.
func sameFolded(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if small(a[i]) != small(b[i]) {
			return false
		}
	}
	return true
}

func small(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Identity is the identity that an end of an IKE SA claims. It is comparable; the zero value is nobody's.
type Identity struct {
	Type IDType
	Data string // the payload's bytes
}

// ParseIdentity reads an address, an e-mail address ("a@b"), a key id
// ("@#hex" or "keyid:text"), or else an FQDN ("@name" and "fqdn:name" force it).
func ParseIdentity(s string) Identity {
	if a, err := netip.ParseAddr(s); err == nil {
		return IdentityOf(a)
	}
	if rest, ok := strings.CutPrefix(s, "keyid:"); ok {
		return Identity{IDKeyID, rest}
	}
	if rest, ok := strings.CutPrefix(s, "@#"); ok {
		if b, err := hex.DecodeString(rest); err == nil {
			return Identity{IDKeyID, string(b)}
		}
	}
	if rest, ok := strings.CutPrefix(s, "fqdn:"); ok {
		return Identity{IDFQDN, rest}
	}
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		return Identity{IDFQDN, rest}
	}
	if strings.Contains(s, "@") {
		return Identity{IDEmail, s}
	}
	return Identity{IDFQDN, s}
}

// IdentityOf is the identity of an address.
func IdentityOf(a netip.Addr) Identity {
	a = a.Unmap()
	if a.Is4() {
		return Identity{IDIPv4, string(a.AsSlice())}
	}
	return Identity{IDIPv6, string(a.AsSlice())}
}

// String is id for people, as ParseIdentity reads it; unprintable bytes are in hex.
func (id Identity) String() string {
	switch id.Type {
	case 0:
		return "nobody"
	case AnyIdentity.Type:
		return "anybody"
	case IDIPv4, IDIPv6:
		if a, ok := netip.AddrFromSlice([]byte(id.Data)); ok {
			return a.String()
		}
	case IDFQDN, IDEmail:
		if printable(id.Data) {
			return id.Data
		}
	case IDKeyID:
		if printable(id.Data) {
			return "keyid:" + id.Data
		}
		return "@#" + hex.EncodeToString([]byte(id.Data))
	}
	return id.Type.String() + " 0x" + hex.EncodeToString([]byte(id.Data))
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}
