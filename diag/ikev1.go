package diag

// What only IKEv1 finds.
const (
	SeveralChosen Code = "several-chosen"
	HashWrong     Code = "hash-wrong"
	NotDecrypted  Code = "not-decrypted"
	AnswerTooLong Code = "answer-too-long"
	NoAnswerKeys  Code = "no-answer-keys"
	NoAnswerSize  Code = "no-answer-size"
	NoAnswerQuick Code = "no-answer-quick-mode"
	IDsUsed       Code = "message-ids-used-up"
	Phase1Refused Code = "phase-1-refused"
	IDDisbelieved Code = "identity-disbelieved"
	NoneSince     Code = "peer-restarted-no-child"
)

var ikev1 = []Entry{
	{Code: SeveralChosen, Severity: Error, Sentence: "the peer's answer chooses {count} proposals; it must choose one", Side: Theirs},
	{Code: HashWrong, Severity: Error, Sentence: "{theirs} in {message} is wrong: the pre-shared keys differ", Side: Either, Change: "psk"},
	{Code: NotDecrypted, Severity: Error, Sentence: "{message} does not decrypt: the pre-shared keys differ", Side: Either, Change: "psk"},
	{Code: AnswerTooLong, Severity: Warning, Sentence: "message 1 of aggressive mode has {theirs}, and our answer of {ours} would be more than twice as long", Side: Theirs},
	{Code: NoAnswerKeys, Severity: Error, Sentence: "no {message} from {peer}: the pre-shared keys or the identities differ[ (we sent {ours} and expect {theirs})], or UDP 4500 is closed on the way; look in the peer's log", Side: Either, Change: "psk, local.id, remote.id"},
	{Code: NoAnswerSize, Severity: Error, Sentence: "no {message} from {peer}: the peer answered message 1, so look for large packets that are lost, and in its log", Side: Path},
	{Code: NoAnswerQuick, Severity: Error, Sentence: "no answer to a quick mode for {ours}: the peer may have no such pair of subnets, or other ESP algorithms; look in its log", Side: Either, Change: "local.subnets, remote.subnets, esp.proposals"},
	{Code: IDsUsed, Severity: Warning, Sentence: "the ISAKMP SA has used up its {count} message ids, and the peer let nothing take its place", Side: Theirs},
	{Code: Phase1Refused, Severity: Error, Sentence: "the peer answered {notify}: {hint}", Side: Either, Change: "psk, local.id, remote.id, mode"},
	{Code: IDDisbelieved, Severity: Error, Sentence: "the peer does not accept our proof of identity ({notify}): it expects another identity than {ours}[, or another mode than {name}]", Side: Either, Change: "local.id, mode"},
	{Code: NoneSince, Severity: Warning, Sentence: "the peer restarted (INITIAL-CONTACT), and no other Child SA came", Side: Nowhere},
}

// hints1 are the hints for IKEv1's error notifications, which have names of their own.
var hints1 = map[Code]map[string]string{
	IKERefused: {
		"NO-PROPOSAL-CHOSEN": "it has no connection for us with these IKE algorithms; compare encryption, hash and DH group, the IKE version, main or aggressive mode, and whether it knows our address",
	},
	Phase1Refused: {
		"INVALID-ID-INFORMATION": unproven,
	},
	"": {
		"NO-PROPOSAL-CHOSEN":       "compare encryption, hash, PFS group and encapsulation mode with the peer's",
		"INVALID-ID-INFORMATION":   "it has no such pair of subnets; compare local and remote subnets, mirrored",
		"AUTHENTICATION-FAILED":    unproven,
		"INVALID-HASH-INFORMATION": unproven,
		"PAYLOAD-MALFORMED":        unproven,
		"INVALID-KEY-INFORMATION":  "it wants another DH group",
	},
}

const unproven = "the pre-shared keys differ, or it does not know our identity or expects another of its own"
