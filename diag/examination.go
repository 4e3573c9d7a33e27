package diag

// What `vpngw doctor` finds when it looks at the host and at the packets that were carried.
const (
	PeerIsOwn      Code = "peer-is-own"
	AddressForeign Code = "address-foreign"
	PeerInside     Code = "peer-by-tunnel"
	FilterIn       Code = "filter-in"
	FilterOut      Code = "filter-out"
	FilterForward  Code = "filter-forward"
	FilterUnclear  Code = "filter-unclear"
	FilterUnread   Code = "filter-unread"
	ForwardOff     Code = "forward-off"
	SNAT           Code = "snat"
	OldFlows       Code = "old-flows"
	IPv6Off        Code = "ipv6-off"
	ForeignPolicy  Code = "foreign-policy"
	PortShared     Code = "port-shared"
	NATTSilent     Code = "natt-silent"
	NATTOff        Code = "natt-off"
	NobodyBegins   Code = "nobody-begins"
	ICVLength      Code = "icv-length"
	BadICV         Code = "icv-wrong"
	NothingBack    Code = "nothing-back"
	RawBlocked     Code = "raw-esp-blocked"
	NothingOut     Code = "nothing-out"
	OutsideOurs    Code = "outside-selectors"
	OutsideTheirs  Code = "outside-selectors-peer"
	NoRoutes       Code = "no-routes"
	PeerEndsEarly  Code = "peer-ends-early"
	SmallMTU       Code = "small-mtu"
	ClockUnset     Code = "clock"
)

var examination = []Entry{
	{Code: PeerIsOwn, Severity: Error, Sentence: "the peer's address {host} is one of this host's own: the connection is for the other end", Side: Ours, Change: "side, remote.address"},
	{Code: AddressForeign, Severity: Warning, Sentence: "this end's address {addr} is on no interface of this host, which sends from {ours}: that is right only behind a NAT that has {addr}", Side: Ours, Change: "local.address"},
	{Code: PeerInside, Severity: Error, Sentence: "the route to {host} leads into the tunnel {device} itself", Side: Ours, Change: "routes"},
	{Code: FilterIn, Severity: Error, Sentence: "this host's packet filter drops {theirs} from {host}: {name}[; {ours}]", Side: Ours},
	{Code: FilterOut, Severity: Error, Sentence: "this host's packet filter drops {theirs} to {host}: {name}[; {ours}]", Side: Ours},
	{Code: FilterForward, Severity: Error, Sentence: "this host's packet filter drops what it forwards {theirs}: {name}[; {ours}]", Side: Ours},
	{Code: FilterUnclear, Severity: Warning, Sentence: "this host's packet filter may drop {theirs}: {name}; let it through by a rule of its own", Side: Ours},
	{Code: FilterUnread, Severity: Info, Sentence: "the kernel's older packet filter has tables here, {name}, and vpngw cannot read their rules: `{ours}` shows whether they drop UDP 500, UDP 4500, protocol 50 or what is forwarded", Side: Ours},
	{Code: ForwardOff, Severity: Error, Sentence: "forwarding is off for what comes in by {device}: the hosts behind this gateway and the tunnel do not reach each other; sysctl -w {name}=1", Side: Ours},
	{Code: SNAT, Severity: Error, Sentence: "this host's NAT gives packets into the tunnel {device}[ {theirs}] another source, which no selector covers: {name}; {ours}", Side: Ours},
	{Code: OldFlows, Severity: Warning, Sentence: "{count} flows into the tunnel {device} keep the source that NAT gave them before it was up: connection tracking holds them; {ours}", Side: Ours},
	{Code: IPv6Off, Severity: Error, Sentence: "IPv6 is off on {device}, and the tunnel carries it; sysctl -w net/ipv6/conf/{device}/disable_ipv6=0", Side: Ours},
	{Code: ForeignPolicy, Severity: Error, Sentence: "an IPsec policy of another program takes packets of the tunnel ({name}): stop that IKE daemon, and remove what it left; ip xfrm policy flush", Side: Ours},
	{Code: PortShared, Severity: Warning, Sentence: "{name} has UDP port {count} too, on another address of this host", Side: Ours, Change: "listen"},
	{Code: NATTSilent, Severity: Error, Sentence: "{host} answers on UDP 500 and nothing comes from its UDP 4500: a filter on the way drops UDP 4500[, or {ours}]", Side: Path},
	{Code: NATTOff, Severity: Error, Sentence: "{name} is behind a NAT, and this connection does not detect NATs: raw ESP does not pass", Side: Ours, Change: "natt"},
	{Code: NobodyBegins, Severity: Warning, Sentence: "this end only answers, and nothing has come[ from {host}]: the other end does not begin, has another address, or a filter on the way drops its UDP 500", Side: Either, Change: "initiate, remote.address"},
	{Code: ICVLength, Severity: Error, Sentence: "{count} packets of ESP are authentic with an ICV of {theirs} and wrong with ours of {ours}: set `sha256_96: {name}`", Side: Ours, Change: "sha256_96"},
	{Code: BadICV, Severity: Error, Sentence: "{count} packets of ESP that came in have a wrong ICV, and none a right one: the peer has other keys or algorithms than it negotiated", Side: Theirs, Change: "esp.proposals"},
	{Code: NothingBack, Severity: Error, Sentence: "{count} packets went into the tunnel and none came back: the hosts behind the peer have no route back, their filter or the peer's drops them, or ESP in UDP 4500 is lost on the way", Side: Theirs},
	{Code: RawBlocked, Severity: Error, Sentence: "{count} packets went out as protocol 50 and none came in: a filter on the way that knows no ESP is likely; set `encap: always`", Side: Path, Change: "encap"},
	{Code: NothingOut, Severity: Error, Sentence: "{count} packets came out of the tunnel and none was sent into it: this host does not forward, or the hosts behind it have no route to {theirs} by this gateway", Side: Ours},
	{Code: OutsideOurs, Severity: Error, Sentence: "{count} packets for the tunnel were dropped because they are not between {ours} and {theirs}: add their networks to the subnets at both ends, or do not route them here", Side: Either, Change: "local.subnets, remote.subnets"},
	{Code: OutsideTheirs, Severity: Error, Sentence: "{count} packets from the peer were dropped because they are not between {theirs} and {ours}: the peer sends what it did not negotiate", Side: Theirs, Change: "remote.subnets, local.subnets"},
	{Code: NoRoutes, Severity: Error, Sentence: "the tunnel carries everything, and no route leads into it: say what to send into it in `routes`", Side: Ours, Change: "routes"},
	{Code: PeerEndsEarly, Severity: Warning, Sentence: "the peer has deleted the tunnel's SAs {count} times lately, without a rekey: its lifetime is shorter than ours, or it ends idle tunnels", Side: Either, Change: "lifetime"},
	{Code: SmallMTU, Severity: Warning, Sentence: "the tunnel's MTU is {count}, below the 1280 that IPv6 needs: the path to {host} carries only small packets", Side: Path},
	{Code: ClockUnset, Severity: Info, Sentence: "this host's clock is not kept by NTP: the times in its log and in the peer's may differ; IKE with pre-shared keys does not need it", Side: Ours},
}
