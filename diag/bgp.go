package diag

// Causes of BGP.
const (
	BFDDown  Code = "bfd-down"            // Peer, its address in the tunnel; After: the silence, or Theirs: what it said
	BGPWaits Code = "bgp-not-established" // the tunnel's warning while its session is not up
)
