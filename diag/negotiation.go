package diag

// What the two ends disagree about: algorithms, selectors, versions, modes.
const (
	IKEProposal     Code = "ike-proposal"
	IKERefused      Code = "ike-refused"
	IKENotOffered   Code = "ike-not-offered"
	IKEGroup        Code = "ike-group"
	IKEVersion      Code = "ike-version"
	IKEMode         Code = "ike-mode"
	ESPProposal     Code = "esp-proposal"
	ESPRefused      Code = "esp-refused"
	ESPNotOffered   Code = "esp-not-offered"
	ESPGroup        Code = "esp-group"
	Selectors       Code = "selectors"
	SelectorsRefuse Code = "selectors-refused"
	SelectorsWrong  Code = "selectors-not-offered"
	Uncovered       Code = "selectors-not-covered"
	Narrowed        Code = "selectors-narrowed"
	KeyExchange     Code = "key-exchange"
	Malformed       Code = "malformed"
	PeerAnswered    Code = "peer-answered"
)

var negotiation = []Entry{
	{Code: IKEProposal, Severity: Error, Sentence: "the peer's IKE proposals and ours have nothing in common: {theirs}", Side: Either, Change: "ike.proposals"},
	{Code: IKERefused, Severity: Error, Sentence: "we sent IKE proposals {ours}; the peer answered {notify}: {hint}", Side: Either, Change: "ike.proposals, ike_version"},
	{Code: IKENotOffered, Severity: Error, Sentence: "the peer chose an IKE proposal that we did not offer", Side: Theirs},
	{Code: IKEGroup, Severity: Error, Sentence: "we offered key exchange in group {ours}; the peer wants {theirs}, which our proposals do not have", Side: Either, Change: "ike.proposals"},
	{Code: IKEVersion, Severity: Error, Sentence: "the peer speaks IKEv{version}; this connection is {ours}: set the peer to {ours}", Side: Either, Change: "ike_version"},
	{Code: IKEMode, Severity: Error, Sentence: "the peer begins in {theirs} mode; this connection is in {ours} mode: set the same at both ends", Side: Either, Change: "mode"},
	{Code: ESPProposal, Severity: Error, Sentence: "the peer's ESP proposals and ours have nothing in common: {theirs}", Side: Either, Change: "esp.proposals"},
	{Code: ESPRefused, Severity: Error, Sentence: "we sent ESP proposals {ours}; the peer answered {notify}: {hint}", Side: Either, Change: "esp.proposals"},
	{Code: ESPNotOffered, Severity: Error, Sentence: "the peer chose an ESP proposal that we did not offer: {theirs}", Side: Theirs},
	{Code: ESPGroup, Severity: Error, Sentence: "the peer guessed another PFS group than {ours}", Side: Nowhere},
	{Code: Selectors, Severity: Error, Sentence: "traffic selectors: the peer asks for {theirs}; we have {ours}", Side: Either, Change: "local.subnets, remote.subnets"},
	{Code: SelectorsRefuse, Severity: Error, Sentence: "we asked for {ours}; the peer answered {notify}: {hint}", Side: Either, Change: "local.subnets, remote.subnets"},
	{Code: SelectorsWrong, Severity: Error, Sentence: "the peer answered with selectors that we did not offer: {theirs}", Side: Either, Change: "local.subnets, remote.subnets"},
	{Code: Uncovered, Severity: Error, Sentence: "no SA carries {ours}", Side: Either, Change: "local.subnets, remote.subnets"},
	{Code: Narrowed, Severity: Warning, Sentence: "the peer took only a part of {ours}", Side: Either, Change: "local.subnets, remote.subnets"},
	{Code: KeyExchange, Severity: Error, Sentence: "the peer's key exchange value is invalid: {err}", Side: Theirs},
	{Code: Malformed, Severity: Error, Sentence: "the peer's message cannot be read: {err}", Side: Theirs},
	{Code: PeerAnswered, Severity: Error, Sentence: "the peer answered {notify}[: {err}]", Side: Theirs},
}
