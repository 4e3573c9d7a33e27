package diag

// Causes of BGP.
const (
	BGPWaits Code = "bgp-not-established" // the tunnel's warning while its session is not up
)
