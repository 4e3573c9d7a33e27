package diag

// Why an SA began, was replaced, or ended, though nothing need be wrong.
const (
	OperatorDown    Code = "operator-down"
	AwaitsTraffic   Code = "awaits-traffic"
	OperatorAsked   Code = "operator-asked"
	ConfigChanged   Code = "config-changed"
	ShuttingDown    Code = "shutting-down"
	PeerDeletedIKE  Code = "peer-deleted-ike"
	PeerDeletedESP  Code = "peer-deleted-child"
	PeerRestarted   Code = "peer-restarted"
	Replaced        Code = "replaced"
	LifetimeReached Code = "lifetime"
	BytesReached    Code = "lifetime-bytes"
	PacketsReached  Code = "lifetime-packets"
	SequenceReached Code = "sequence-numbers"
	LifetimeEnded   Code = "lifetime-ended"
	Collision       Code = "collision"
	TooManyIKE      Code = "too-many-ike"
	TooManyChildren Code = "too-many-children"
	TooManyPairs    Code = "too-many-selectors"
	NotWanted       Code = "not-wanted"
	Internal        Code = "internal"
	FailedOver      Code = "failover"
	FailedBack      Code = "failback"
	Rejoined        Code = "rejoined"
	KeysExposed     Code = "keys-exposed"
	PacketsExposed  Code = "packets-exposed"
	ExposureEnded   Code = "exposure-ended"
)

var lifecycle = []Entry{
	{Code: OperatorDown, Severity: Info, Sentence: "taken down by `vpngw down`", Side: Ours},
	{Code: AwaitsTraffic, Severity: Info, Sentence: "waits for a packet to go through it (start: onTraffic)", Side: Nowhere, Change: "start"},
	{Code: OperatorAsked, Severity: Info, Sentence: "the operator asked for it", Side: Nowhere},
	{Code: ConfigChanged, Severity: Info, Sentence: "the configuration changed", Side: Nowhere},
	{Code: ShuttingDown, Severity: Info, Sentence: "this gateway shuts down", Side: Nowhere},
	{Code: PeerDeletedIKE, Severity: Warning, Sentence: "the peer deleted the IKE SA", Side: Theirs},
	{Code: PeerDeletedESP, Severity: Warning, Sentence: "the peer deleted the Child SA", Side: Theirs},
	{Code: PeerRestarted, Severity: Warning, Sentence: "the peer restarted (INITIAL_CONTACT)", Side: Nowhere},
	{Code: Replaced, Severity: Info, Sentence: "replaced by a newer SA", Side: Nowhere},
	{Code: LifetimeReached, Severity: Info, Sentence: "its lifetime nears its end", Side: Nowhere, Change: "lifetime"},
	{Code: BytesReached, Severity: Info, Sentence: "its lifetime in bytes nears its end", Side: Nowhere, Change: "lifetime.bytes"},
	{Code: PacketsReached, Severity: Info, Sentence: "its lifetime in packets nears its end", Side: Nowhere, Change: "lifetime.packets"},
	{Code: SequenceReached, Severity: Info, Sentence: "its sequence numbers near their end", Side: Nowhere},
	{Code: LifetimeEnded, Severity: Error, Sentence: "its lifetime ended before a rekey succeeded", Side: Either, Change: "lifetime"},
	{Code: Collision, Severity: Info, Sentence: "both ends began at once; the other IKE SA stays", Side: Nowhere},
	{Code: TooManyIKE, Severity: Warning, Sentence: "the peer has too many IKE SAs", Side: Theirs},
	{Code: TooManyChildren, Severity: Warning, Sentence: "the peer has {count} Child SAs already", Side: Theirs},
	{Code: TooManyPairs, Severity: Warning, Sentence: "the peer asks for Child SAs of {count} pairs of selectors, more than a peer may have: wider selectors say the same in fewer", Side: Theirs},
	{Code: NotWanted, Severity: Info, Sentence: "no connection wants it any more", Side: Nowhere},
	{Code: FailedOver, Severity: Warning, Sentence: "the traffic of tunnel {theirs} goes through tunnel {name} now", Side: Nowhere, Change: "failover"},
	{Code: FailedBack, Severity: Info, Sentence: "the traffic is back from tunnel {theirs} on tunnel {name}[, which has been well for {after}]", Side: Nowhere, Change: "failover"},
	{Code: Rejoined, Severity: Info, Sentence: "tunnel {name} takes traffic again beside tunnel {theirs}[, for it has been well for {after}]", Side: Nowhere, Change: "balance"},
	{Code: KeysExposed, Severity: Warning, Sentence: "its keys are written down by `vpngw keylog`[ for {after} at most]: who has them can read all that its SAs carry", Side: Nowhere},
	{Code: PacketsExposed, Severity: Warning, Sentence: "its packets are recorded by `vpngw capture`[ for {after} at most], as they are without encryption too", Side: Nowhere},
	{Code: ExposureEnded, Severity: Info, Sentence: "`vpngw {name}` has ended", Side: Nowhere},
	{Code: Internal, Severity: Error, Sentence: "vpngw could not {name}: {err}", Side: Ours},
}
