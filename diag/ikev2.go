package diag

// Causes that only IKEv2 has.
const (
	IKEGroupGuess    Code = "ike-group-guess"
	GroupUnproven    Code = "ike-group-unproven"
	KEGroupChanged   Code = "ike-group-changed"
	AuthDisbelieved  Code = "auth-disbelieved"
	MessageUnread    Code = "message-unread"
	RequestUnread    Code = "request-unread"
	AnswerIncomplete Code = "answer-incomplete"
	RekeyAnswer      Code = "rekey-answer"
	ReservedSPI      Code = "reserved-spi"
	NoSPI            Code = "no-spi"
	IKELifetimeEnded Code = "ike-lifetime-ended"
	RekeyRefused     Code = "rekey-refused"
	ChildNotFound    Code = "child-not-found"
	UnknownChild     Code = "unknown-child"
	ChildHeld        Code = "child-held"
	ChildDeleted     Code = "child-deleted"
	SuccessorDeleted Code = "successor-deleted"
	BeingReplaced    Code = "being-replaced"
	RekeyedAlready   Code = "rekeyed-already"
	ChildBusy        Code = "child-busy"
	EarlyRekey       Code = "early-rekey"
	PFSMismatch      Code = "pfs-mismatch"
)

var ikev2 = []Entry{
	{Code: IKEGroupGuess, Severity: Info, Sentence: "the peer guessed key exchange group {theirs}; ours is {ours}", Side: Nowhere},
	{Code: GroupUnproven, Severity: Info, Sentence: "the IKE SA began in group {theirs} because of a message that anybody can forge; our first choice is {ours}", Side: Nowhere},
	{Code: KEGroupChanged, Severity: Error, Sentence: "the peer answered with a key exchange group other than the one it chose", Side: Theirs},
	{Code: AuthDisbelieved, Severity: Error, Sentence: "the peer does not accept our proof of identity ({notify}): the pre-shared keys differ, or it expects another identity than {ours}", Side: Either, Change: "psk, local.id"},
	{Code: MessageUnread, Severity: Error, Sentence: "the peer could not read our message: {notify}", Side: Theirs},
	{Code: RequestUnread, Severity: Error, Sentence: "the peer could not read our {message} request ({notify}), which ends the IKE SA at both ends", Side: Theirs},
	{Code: AnswerIncomplete, Severity: Error, Sentence: "the peer's answer has no {ours}", Side: Theirs},
	{Code: RekeyAnswer, Severity: Error, Sentence: "the peer's answer to the rekey of the IKE SA does not fit our request", Side: Theirs},
	{Code: ReservedSPI, Severity: Error, Sentence: "the peer chose a reserved SPI", Side: Theirs},
	{Code: NoSPI, Severity: Error, Sentence: "no SPI is left[: {err}]", Side: Ours},
	{Code: IKELifetimeEnded, Severity: Error, Sentence: "the IKE SA's lifetime ended before a rekey succeeded", Side: Either, Change: "ike.lifetime"},
	{Code: RekeyRefused, Severity: Error, Sentence: "the peer has refused to rekey for {after}", Side: Theirs},
	{Code: ChildNotFound, Severity: Warning, Sentence: "the peer does not have the Child SA any more", Side: Nowhere},
	{Code: UnknownChild, Severity: Warning, Sentence: "the peer wants to rekey a Child SA that we do not have", Side: Nowhere},
	{Code: ChildHeld, Severity: Info, Sentence: "{name} is held down by the operator", Side: Ours},
	{Code: ChildDeleted, Severity: Info, Sentence: "this gateway deleted the Child SA", Side: Nowhere},
	{Code: SuccessorDeleted, Severity: Warning, Sentence: "the peer deleted the SA that was to replace this one", Side: Nowhere},
	{Code: BeingReplaced, Severity: Info, Sentence: "{name} is being replaced", Side: Nowhere},
	{Code: RekeyedAlready, Severity: Info, Sentence: "the peer has rekeyed the IKE SA a moment ago", Side: Nowhere},
	{Code: EarlyRekey, Severity: Info, Sentence: "whether both ends agree in PFS shows only at a rekey (early_rekey, or vpngw doctor)", Side: Nowhere},
	{Code: PFSMismatch, Severity: Warning, Sentence: "PFS differs, so the tunnel is up but will break at its first rekey: we ask for {ours}; the peer answered {notify}", Side: Either, Change: "esp.proposals"},
	{Code: ChildBusy, Severity: Info, Sentence: "a Child SA is being made, rekeyed or deleted", Side: Nowhere},
}

// hints say what an error notification can mean to an operator: {hint} in a
// sentence. A hint for a Code comes before the one for every Code ("").
var hints = map[Code]map[string]string{
	IKERefused: {
		"NO_PROPOSAL_CHOSEN": "it has no connection for us with these IKE algorithms; compare encryption, hash and DH group, the IKE version, and whether it knows our address",
	},
	"": {
		"NO_PROPOSAL_CHOSEN":           "it does not accept these ESP algorithms; compare encryption, hash and PFS group",
		"AUTHENTICATION_FAILED":        "the pre-shared keys differ, or it does not know our identity or expects another of its own",
		"TS_UNACCEPTABLE":              "it has no such pair of subnets, or has taken the connection down; compare local and remote subnets, mirrored",
		"INVALID_SYNTAX":               "it could not read our message",
		"INVALID_KE_PAYLOAD":           "it wants another DH group",
		"NO_ADDITIONAL_SAS":            "it takes no more Child SAs on this IKE SA",
		"TEMPORARY_FAILURE":            "it is busy with another exchange; this is retried",
		"INVALID_MAJOR_VERSION":        "it does not speak IKEv2",
		"SINGLE_PAIR_REQUIRED":         "it takes only single addresses as selectors",
		"UNSUPPORTED_CRITICAL_PAYLOAD": "it does not know a payload that we marked critical",
	},
}

// hint explains the peer's notification: by Err if that is set, otherwise by the
// notification's name.
func (c Cause) hint() string {
	if c.Err != "" {
		return c.Err
	}
	if c.Code == BGPNotification && c.Name != "" { // this end sent it
		return "see this host's log"
	}
	for _, code := range [...]Code{c.Code, ""} {
		for _, of := range [...]map[Code]map[string]string{hints, hints1, hintsBGP} {
			if h, ok := of[code][c.Notify]; ok {
				return h
			}
		}
	}
	return "see the peer's log"
}
