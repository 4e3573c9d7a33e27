package diag

// What happened to the daemon itself.
const (
	DaemonStarted   Code = "daemon-started"
	DaemonRecovered Code = "daemon-recovered"
	DaemonStopped   Code = "daemon-stopped"
	ConfigAdopted   Code = "config-adopted"
	ConfigRefused   Code = "config-refused"
	ConfigOnTrial   Code = "config-on-trial"
	ConfigConfirmed Code = "config-confirmed"
	ConfigGoneBack  Code = "config-gone-back"
)

var daemon = []Entry{
	{Code: DaemonStarted, Severity: Info, Sentence: "the daemon[ {ours}] has started", Side: Nowhere},
	{Code: DaemonRecovered, Severity: Warning, Sentence: "the daemon[ {ours}] has started; the one before it did not stop in order: it was killed, it failed, or the host ended", Side: Nowhere},
	{Code: DaemonStopped, Severity: Info, Sentence: "the daemon has stopped[: {err}]", Side: Nowhere},
	{Code: ConfigAdopted, Severity: Info, Sentence: "the configuration was read again and adopted[: {ours}]", Side: Nowhere},
	{Code: ConfigRefused, Severity: Error, Sentence: "a reload changed nothing: {err}", Side: Ours},
	{Code: ConfigOnTrial, Severity: Warning, Sentence: "the configuration was adopted on trial[: {ours}]; the daemon goes back after {after} unless `vpngw confirm` comes first", Side: Nowhere},
	{Code: ConfigConfirmed, Severity: Info, Sentence: "the configuration on trial is confirmed", Side: Nowhere},
	{Code: ConfigGoneBack, Severity: Warning, Sentence: "the configuration on trial was not confirmed: the one before it runs again, and not the file's; `vpngw reload` adopts the file", Side: Ours},
}
