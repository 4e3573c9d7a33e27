package diag

// Who the peer is, and whether it can prove that.
const (
	PSKMismatch  Code = "psk-mismatch"
	PeerIdentity Code = "peer-identity"
	OurIdentity  Code = "our-identity"
	Reflected    Code = "reflected"
	SameIdentity Code = "same-identity"
	AuthMethod   Code = "auth-method"
	AuthRefused  Code = "auth-refused"
	UnknownPeer  Code = "unknown-peer"
	SuiteOfOther Code = "ike-proposal-of-another"
)

var authentication = []Entry{
	{Code: PSKMismatch, Severity: Error, Sentence: "[{message}: ]the pre-shared keys do not match", Side: Either, Change: "psk"},
	{Code: PeerIdentity, Severity: Error, Sentence: "the peer says that it is {theirs}; the configuration expects {ours}", Side: Either, Change: "remote.id"},
	{Code: OurIdentity, Severity: Error, Sentence: "the peer asks for {theirs}; our identity is {ours}", Side: Either, Change: "local.id"},
	{Code: Reflected, Severity: Error, Sentence: "what this gateway sends to the peer comes back to it: the peer's address leads here, or somebody mirrors the messages", Side: Either, Change: "remote.address"},
	{Code: SameIdentity, Severity: Error, Sentence: "the peer says that it is {theirs}, which is this gateway's own identity: one end must have another, so that neither can be taken for the other", Side: Either, Change: "local.id, remote.id"},
	{Code: AuthMethod, Severity: Error, Sentence: "the peer authenticates by method {count}; we know only the pre-shared key (2)", Side: Theirs},
	{Code: AuthRefused, Severity: Error, Sentence: "we sent identity {ours} and expect {theirs}; the peer answered IKE_AUTH with {notify}: {hint}", Side: Either, Change: "psk, local.id, remote.id"},
	{Code: UnknownPeer, Severity: Warning, Sentence: "no connection has a peer at {host}[ that speaks IKEv{version}]", Side: Either, Change: "remote.address"},
	{Code: SuiteOfOther, Severity: Error, Sentence: "{theirs} is negotiated, which the proposals of {name} ({ours}) do not have", Side: Either, Change: "ike.proposals"},
}
