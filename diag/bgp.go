package diag

// Why a BGP session or a route of it is as it is.
const (
	BGPUp            Code = "bgp-up"
	BGPDown          Code = "bgp-down"
	BGPRefused       Code = "bgp-connection-refused"
	BGPNoAnswer      Code = "bgp-no-answer"
	BGPAS            Code = "bgp-as-mismatch"
	BGPPassword      Code = "bgp-password"
	BGPTTL           Code = "bgp-ttl"
	BGPHold          Code = "bgp-hold-expired"
	BGPNotification  Code = "bgp-notification"
	BGPChildDied     Code = "bgp-child-died"
	BGPChildPaused   Code = "bgp-child-paused"
	BGPPortTaken     Code = "bgp-port-taken"
	BGPPrefixRefused Code = "bgp-prefix-refused"
	BGPLimit         Code = "bgp-limit"
	BGPFamily        Code = "bgp-family-off"
	BGPWaits         Code = "bgp-not-established"
)
