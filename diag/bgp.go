package diag

// Why a BGP session or a route of it is as it is, and the BFD session beside it.
const (
	BGPUp            Code = "bgp-up"
	BGPDown          Code = "bgp-down"
	BGPWaits         Code = "bgp-not-established"
	BGPRefused       Code = "bgp-connection-refused"
	BGPNoAnswer      Code = "bgp-no-answer"
	BGPAS            Code = "bgp-as-mismatch"
	BGPPassword      Code = "bgp-password"
	BGPTTL           Code = "bgp-ttl"
	BGPHold          Code = "bgp-hold-expired"
	BGPNotification  Code = "bgp-notification"
	BGPFamily        Code = "bgp-family-off"
	BGPPrefixRefused Code = "bgp-prefix-refused"
	BGPLimit         Code = "bgp-limit"
	BGPNotTold       Code = "bgp-prefix-not-announced"
	BGPTellLimit     Code = "bgp-limit-announced"
	BGPTellsNothing  Code = "bgp-nothing-announced"
	BGPPortTaken     Code = "bgp-port-taken"
	BGPChildDied     Code = "bgp-child-died"
	BGPChildPaused   Code = "bgp-child-paused"
	BGPBothWait      Code = "bgp-both-passive"
	BGPInside        Code = "bgp-inside-address"
	BGPSmallPath     Code = "bgp-mtu"
	BGPFlaps         Code = "bgp-flapping"
	BFDDown          Code = "bfd-down"
)

var bgp = []Entry{
	{Code: BGPUp, Severity: Info, Sentence: "the BGP session with {host} is established[; the hold time is {after}]", Side: Nowhere},
	{Code: BGPDown, Severity: Warning, Sentence: "the BGP session[ with {host}] has ended[ after {after}][: {err}]", Side: Nowhere},
	{Code: BGPWaits, Severity: Warning, Sentence: "there is no BGP session[ with {host}]", Side: Either},
	{Code: BGPRefused, Severity: Error, Sentence: "{host} refuses BGP's connection (TCP 179)[: {err}]: does BGP run there, is this end's address in the tunnel its neighbor, and does it ask for TTL security that this end has not?", Side: Theirs},
	{Code: BGPNoAnswer, Severity: Error, Sentence: "no answer to BGP from {host} (TCP 179)[: {err}]: does it have that address in the tunnel, does a filter drop TCP 179, do both ends have the same password and TTL security?", Side: Either, Change: "inside.local, bgp.key, bgp.ttl_security"},
	{Code: BGPAS, Severity: Error, Sentence: "the AS numbers of BGP do not match[: the peer says that it is AS {theirs}; this end expects AS {ours}][: the peer answered {notify}, so it expects another AS of this end]", Side: Either, Change: "local.asn, remote.asn"},
	{Code: BGPPassword, Severity: Error, Sentence: "the passwords of BGP (TCP MD5) differ between this end and {host}[: {ours}]", Side: Either, Change: "bgp.key"},
	{Code: BGPTTL, Severity: Error, Sentence: "only one of this end and {host} has BGP's TTL security[: {ours}]", Side: Either, Change: "bgp.ttl_security"},
	{Code: BGPHold, Severity: Error, Sentence: "nothing came from BGP's peer[ {host}] within the hold time[ of {after}]", Side: Path, Change: "bgp.hold"},
	{Code: BGPNotification, Severity: Error, Sentence: "BGP was ended by \"{notify}\"[, which this end {name}][, with the text \"{theirs}\"]: {hint}", Side: Either},
	{Code: BGPFamily, Severity: Error, Sentence: "BGP takes no more routes of {name} from {host} until its next session[: {err}]", Side: Theirs},
	{Code: BGPPrefixRefused, Severity: Warning, Sentence: "{prefix} is not accepted: this end expects {ours}[; the peer tells {theirs}]", Side: Either, Change: "bgp.accept"},
	{Code: BGPLimit, Severity: Warning, Sentence: "[{prefix} is one too many: ]BGP's peer tells more than {count} prefixes[: {ours}]", Side: Either, Change: "bgp.max_prefixes"},
	{Code: BGPNotTold, Severity: Warning, Sentence: "{prefix} is not announced[: it overlaps {theirs}, which the peer never accepts]", Side: Ours, Change: "bgp.announce"},
	{Code: BGPTellLimit, Severity: Warning, Sentence: "the peer accepts {count} prefixes: no more are announced", Side: Ours, Change: "bgp.announce"},
	{Code: BGPTellsNothing, Severity: Warning, Sentence: "the BGP session with {host} is established and announces nothing[: {ours}]: the peer has no route to this end", Side: Ours, Change: "bgp.announce"},
	{Code: BGPPortTaken, Severity: Error, Sentence: "BGP of {name} cannot listen on TCP port 179[ of {addr}][, which {theirs} has][: {err}]; stop that program, or have it leave the addresses in the tunnels alone", Side: Ours},
	{Code: BGPChildDied, Severity: Error, Sentence: "the BGP process of {name} has ended[: it gave no sign of life for {after}][: {err}]", Side: Nowhere},
	{Code: BGPChildPaused, Severity: Error, Sentence: "the BGP process of {name} has ended {count} times in a minute, as a peer's message can cause; it starts again in {after}, or by `vpngw up {name}`", Side: Theirs},
	{Code: BGPBothWait, Severity: Error, Sentence: "this end waits for BGP's connection from {host}, which takes one and makes none: one of both ends must not be passive, and the peer must know {addr} as its neighbor", Side: Either, Change: "bgp.passive"},
	{Code: BGPInside, Severity: Error, Sentence: "{host} answers neither BGP nor a ping through the tunnel: the peer may have another address there; this end has {ours}", Side: Either, Change: "inside.local"},
	{Code: BGPSmallPath, Severity: Error, Sentence: "{host} answers a ping of 64 bytes through the tunnel, and none of {count}: BGP's large messages are lost", Side: Path, Change: "mtu"},
	{Code: BGPFlaps, Severity: Warning, Sentence: "the BGP session with {host} has ended {count} times", Side: Either, Change: "bgp.hold"},
	{Code: BFDDown, Severity: Error, Sentence: "BFD with {host} is down[: nothing came from it for {after}][: the peer says that it is {theirs}][: {ours}]", Side: Path, Change: "bgp.bfd"},
}

// hintsBGP say what the peer's NOTIFICATION means to an operator (RFC 4271 section 6, RFC 4486, RFC 9003, RFC 8538, RFC 9384).
var hintsBGP = map[Code]map[string]string{BGPNotification: {
	"Message Header Error":                                                        "it could not read what this end sent",
	"Message Header Error: Connection Not Synchronized":                           "it could not read what this end sent",
	"Message Header Error: Bad Message Length":                                    "it could not read what this end sent",
	"Message Header Error: Bad Message Type":                                      "it could not read what this end sent",
	"OPEN Message Error: Unsupported Version Number":                              "it does not speak BGP 4",
	"OPEN Message Error: Bad Peer AS":                                             "it expects another AS of this end",
	"OPEN Message Error: Bad BGP Identifier":                                      "both ends have the same router id, or this end's is none: change `bgp.router_id`",
	"OPEN Message Error: Unacceptable Hold Time":                                  "it wants a longer hold time: change `bgp.hold`",
	"OPEN Message Error: Unsupported Capability":                                  "it takes no session with what this end offers",
	"UPDATE Message Error: Malformed AS_PATH":                                     "it takes the AS path for wrong: is this end's first AS the one that it expects?",
	"UPDATE Message Error: Invalid NEXT_HOP Attribute":                            "it wants this end's address in the tunnel as the next hop",
	"Hold Timer Expired":                                                          "it heard nothing from this end for the hold time: look at what is lost on the way",
	"Finite State Machine Error":                                                  "both ends began at once, or its process started again; this is retried",
	"Finite State Machine Error: Receive Unexpected Message in OpenSent State":    "both ends began at once, or its process started again; this is retried",
	"Finite State Machine Error: Receive Unexpected Message in OpenConfirm State": "both ends began at once, or its process started again; this is retried",
	"Finite State Machine Error: Receive Unexpected Message in Established State": "both ends began at once, or its process started again; this is retried",
	"Cease": "it ended the session without a reason",
	"Cease: Maximum Number of Prefixes Reached": "this end announces more prefixes than it takes: change `bgp.announce`",
	"Cease: Administrative Shutdown":            "its operator has shut the session down",
	"Cease: Peer De-configured":                 "its operator has removed this neighbor",
	"Cease: Administrative Reset":               "its operator has reset the session; it is retried",
	"Cease: Connection Rejected":                "it takes no session from this end: does it know this neighbor, and is the neighbor enabled there?",
	"Cease: Other Configuration Change":         "its configuration has changed; this is retried",
	"Cease: Connection Collision Resolution":    "both ends connected at once and the other connection stays",
	"Cease: Out of Resources":                   "it has no memory or room for the session",
	"Cease: Hard Reset":                         "it ended the session for good, its routes with it",
	"Cease: BFD Down":                           "its BFD session with this end is down",
	"NOTIFICATION in answer to OPEN":            "it refuses this end: compare the AS numbers, the addresses in the tunnel and the hold time, and see its log",
}}
