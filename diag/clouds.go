package diag

// clouds are the clouds' own codes for the same thing, by our code and dialect.
// Alibaba's are the FailedReasonCode of DiagnoseVpnConnections
// (help.aliyun.com/document_detail/477862). Tencent's are the reasons in its
// negotiation log (cloud.tencent.com/document/product/554/79960), which has no
// codes. Huawei's page gives none.
var clouds = map[Code]map[string][]string{
	IKEProposal:     {alibaba: {"ProposalMismatch", "AlgorithmMismatch", "AuthenticationAlgorithmMismatch"}, tencent: {"no matching proposal"}},
	IKERefused:      {alibaba: {"ProposalMismatch", "AlgorithmMismatch"}, tencent: {"received NO_PROPOSAL_CHOSEN error notify"}},
	IKENotOffered:   {alibaba: {"ProposalMismatch"}},
	IKEGroup:        {alibaba: {"DhGroupMismatch"}},
	IKEVersion:      {alibaba: {"IkeVersionMismatch"}},
	IKEMode:         {alibaba: {"NegotiationModeMismatch"}},
	ESPProposal:     {alibaba: {"ProposalMismatch", "EncryptionAlgorithmMismatch", "PfsMismatch"}, tencent: {"no matching proposal"}},
	ESPRefused:      {alibaba: {"ProposalMismatch", "EncryptionAlgorithmMismatch", "PfsMismatch"}},
	ESPGroup:        {alibaba: {"PfsMismatch"}},
	Selectors:       {alibaba: {"TrafficSelectorMismatch"}},
	SelectorsRefuse: {alibaba: {"TrafficSelectorMismatch"}},
	PSKMismatch:     {alibaba: {"PskMismatch"}, tencent: {"no matching secret"}},
	HashWrong:       {alibaba: {"PskMismatch"}, tencent: {"no matching secret"}},
	NotDecrypted:    {alibaba: {"PskMismatch"}, tencent: {"invalid HASH_V1 payload length, decryption failed"}},
	PeerIdentity:    {alibaba: {"PeerIdMismatch"}, tencent: {"no peer config found by ID payload"}},
	OurIdentity:     {alibaba: {"PeerIdMismatch"}, tencent: {"no peer config found by ID payload"}},
	IDDisbelieved:   {alibaba: {"PeerIdMismatch"}},
	UnknownPeer:     {alibaba: {"PeerMismatch"}},
	NoAnswer:        {alibaba: {"NoResponse", "Phase1NegotiationTimeout"}, tencent: {"peer no response"}},
	NoAnswerYet:     {alibaba: {"NoResponse"}, tencent: {"peer no response"}},
	NoAnswerAuth:    {alibaba: {"NoResponse"}, tencent: {"peer no response"}},
	NoAnswerKeys:    {alibaba: {"Phase1NegotiationTimeout"}, tencent: {"peer no response"}},
	NoAnswerSize:    {alibaba: {"Phase1NegotiationTimeout"}, tencent: {"peer no response"}},
	NoAnswerQuick:   {alibaba: {"Phase2NegotiationTimeout"}},
	PeerStopped:     {alibaba: {"Phase1NegotiationTimeout"}, tencent: {"peer no response"}},
	LivenessDead:    {alibaba: {"DpdTimeout"}},
	NATForbidden:    {alibaba: {"NatTMismatch"}},
	NATModes:        {alibaba: {"NatTMismatch", "EncapsulationModeMismatch"}},
	PeerDeletedIKE:  {alibaba: {"ReceiveDeleteNotify"}},
	PeerDeletedESP:  {alibaba: {"ReceiveDeleteNotify"}},
}

const (
	alibaba = "alibaba"
	huawei  = "huawei"
	tencent = "tencent"
	native  = "native"
)

// Clouds are the dialects that are a cloud's.
var Clouds = []string{alibaba, huawei, tencent}

// CloudCodes returns a cloud's own codes for the cause; nil: none is known.
func (e *Entry) CloudCodes(dialect string) []string { return clouds[e.Code][dialect] }
