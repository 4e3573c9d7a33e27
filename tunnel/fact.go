package tunnel

import (
	"net/netip"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// Fact is something that has happened. Note takes it; Advance draws the
// conclusions. Facts about health checks and BGP sessions will stand here too.
type Fact interface{ fact() }

// IKE is what IKE has done, as far as it concerns one tunnel.
type IKE struct {
	Tunnel string
	Fact   sa.Fact
}

// Moved says that a Child SA sends along another path than before.
type Moved struct {
	Tunnel string
	SPIIn  uint32
	Path   ipsec.Path
}

// Device says that the tunnel has its TUN device, or with a Cause why it has none.
type Device struct {
	Tunnel string
	Cause  diag.Cause
}

// Held says that the operator took the tunnel down (`vpngw down`), or with Held
// false that this is over. Raised says that the tunnel is ours to bring up,
// whatever the configuration says (`vpngw up`).
type (
	Held struct {
		Tunnel string
		Held   bool
	}
	Raised struct{ Tunnel string }
)

// Sent says how the last IKE message to the tunnel's peer went: an OK Cause means well.
type Sent struct {
	Tunnel string
	Cause  diag.Cause
}

// Applied says how the last Want went: what each tunnel lacks, by its name. An
// absent tunnel has everything. Refused says that the kernel refused something,
// so that the Want is repeated after a while.
type Applied struct {
	Trouble map[string]diag.Cause
	Refused bool
}

// PathMTU is the answer to Measure: the largest outer packet that the path to
// Remote takes; 0 when nobody knows.
type PathMTU struct {
	Remote netip.Addr
	MTU    int
}

// TooBig says that the underlay refused a packet to Remote as too big. MTU 0
// means that the refusal did not say how much would fit.
type TooBig struct {
	Remote netip.Addr
	MTU    int
}

// Disturbed says that the kernel may have less than the last Want, or could have
// more of it, because of what another group or another program did.
type Disturbed struct{}

// Underlay says that links, addresses or routes of the host have changed.
// Addresses are the host's own now.
type Underlay struct{ Addresses []netip.Addr }

func (IKE) fact()       {}
func (Moved) fact()     {}
func (Device) fact()    {}
func (Held) fact()      {}
func (Raised) fact()    {}
func (Sent) fact()      {}
func (Applied) fact()   {}
func (PathMTU) fact()   {}
func (TooBig) fact()    {}
func (Underlay) fact()  {}
func (Disturbed) fact() {}
