package ipsec

// Limit is a resource of a Child SA that can be used up (RFC 4301 section 4.4.2.1).
type Limit uint8

const (
	NoLimit Limit = iota
	LimitBytes
	LimitPackets
	LimitSequence // RFC 4303 section 3.3.3: sequence numbers never wrap
)

func (l Limit) String() string {
	return [...]string{"none", "bytes", "packets", "sequence numbers"}[l]
}
