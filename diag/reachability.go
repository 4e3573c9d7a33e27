package diag

// Whether the two ends hear each other.
const (
	NoAnswer       Code = "no-answer"
	NoAnswerYet    Code = "no-answer-yet"
	NoAnswerAuth   Code = "no-answer-auth"
	AnswerUnusable Code = "answer-unusable"
	FirstUnusable  Code = "first-message-unusable"
	PeerStopped    Code = "peer-stopped"
	PeerDead       Code = "peer-dead"
	LivenessDead   Code = "peer-dead-liveness"
	NoRoute        Code = "no-route"
	SendFailed     Code = "send-failed"
	NameUnresolved Code = "name-unresolved"
	NATForbidden   Code = "nat-forbidden"
	NATModes       Code = "nat-modes"
	AddressGone    Code = "address-gone"
	AddressAwaited Code = "address-awaited"
	PeerTemporary  Code = "peer-busy"
	HealthFailed   Code = "health-check"
)

var reachability = []Entry{
	{Code: NoAnswer, Severity: Error, Sentence: "no answer to {message} from {peer}[, nor on its UDP port {ours}]: is the address right, do firewalls on the way let that through, and is the peer running and willing?", Side: Path, Change: "remote.address"},
	{Code: NoAnswerYet, Severity: Warning, Sentence: "no answer from {host} so far: is it up, and do firewalls let UDP port {port}[ or {ours}] through?", Side: Path, Change: "remote.address"},
	{Code: NoAnswerAuth, Severity: Error, Sentence: "no answer to IKE_AUTH from {peer}: the peer answered IKE_SA_INIT, so look for a filter on UDP 4500 or for large packets that are lost, and in the peer's log", Side: Path},
	{Code: AnswerUnusable, Severity: Error, Sentence: "{peer} answers, so the way there is open, but what comes as {message} cannot be used: {err}", Side: Theirs},
	{Code: FirstUnusable, Severity: Error, Sentence: "{peer} begins, but its {message} cannot be used: {err}", Side: Theirs},
	{Code: PeerStopped, Severity: Error, Sentence: "the peer began and did not go on to {message} within {after}: did our answer reach it, and is UDP 4500 open on the way?", Side: Path},
	{Code: PeerDead, Severity: Error, Sentence: "the peer is dead: no answer from {peer} to repeated requests", Side: Path},
	{Code: LivenessDead, Severity: Error, Sentence: "the peer is dead: it did not answer a liveness check within {after}", Side: Path, Change: "dpd"},
	{Code: NoRoute, Severity: Error, Sentence: "no route to {host}: {err}", Side: Ours},
	{Code: NameUnresolved, Severity: Error, Sentence: "the peer's name {name} has no address: {err}; correct the name, or see whether this host reaches a DNS server of /etc/resolv.conf", Side: Ours, Change: "remote.address"},
	{Code: SendFailed, Severity: Error, Sentence: "sending to {peer} failed: {err}", Side: Ours},
	{Code: NATForbidden, Severity: Error, Sentence: "{name} is behind a NAT, which raw ESP does not pass, but encap is \"never\": set encap to \"auto\"", Side: Ours, Change: "encap"},
	{Code: NATModes, Severity: Error, Sentence: "there is {name} between us, and the peer does not offer {ours}", Side: Theirs},
	{Code: AddressAwaited, Severity: Warning, Sentence: "no interface of this host has the address {addr} yet: waiting for it", Side: Ours},
	{Code: AddressGone, Severity: Warning, Sentence: "our address {addr} is gone: connecting again from another", Side: Nowhere},
	{Code: PeerTemporary, Severity: Error, Sentence: "the peer has answered TEMPORARY_FAILURE for {after}", Side: Theirs},
	{Code: HealthFailed, Severity: Error, Sentence: "{host} does not answer: {count} pings in a row through the tunnel were lost[; {ours}]", Side: Either, Change: "health"},
}
