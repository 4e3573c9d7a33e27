package diag

// What this host lets us do: devices, routes, sockets.
const (
	DeviceFailed  Code = "device"
	DeviceGone    Code = "device-gone"
	DeviceOpening Code = "device-opening"
	RouteBlocked  Code = "route-blocked"
	RouteTaken    Code = "route-taken"
	RouteSource   Code = "route-source"
	AddressTaken  Code = "address-taken"
	HostRefused   Code = "host-refused"
	LeakRoute     Code = "leak"
	LeakHeld      Code = "leak-held"
	LeakPass      Code = "leak-pass"

	Running     Code = "running"
	NetAdmin    Code = "net-admin"
	NetRaw      Code = "net-raw"
	NoTUN       Code = "tun"
	TUNDenied   Code = "tun-denied"
	PortInUse   Code = "port"
	IPForward   Code = "ip-forward"
	ForwardDrop Code = "forward-drop"
	RPFilter    Code = "rp-filter"
	Cleartext   Code = "cleartext"
)

var device = []Entry{
	{Code: DeviceFailed, Severity: Error, Sentence: "device {device}: {err}", Side: Ours, Change: "device"},
	{Code: DeviceGone, Severity: Error, Sentence: "device {device} is gone: {err}", Side: Ours},
	{Code: DeviceOpening, Severity: Info, Sentence: "device {device} is being made", Side: Nowhere},
	{Code: RouteBlocked, Severity: Error, Sentence: "route {prefix} is not in: {err} is there already", Side: Ours, Change: "routes"},
	{Code: RouteTaken, Severity: Error, Sentence: "route {prefix} is not in: the route of our own device {name} is there already", Side: Ours, Change: "local.subnets, remote.subnets"},
	{Code: RouteSource, Severity: Error, Sentence: "route {prefix} is not in: its source address {addr} is on no interface of this host", Side: Ours, Change: "local.subnets"},
	{Code: AddressTaken, Severity: Error, Sentence: "{addr} is not on device {device}: interface {name} has that address already", Side: Ours, Change: "inside.local"},
	{Code: HostRefused, Severity: Error, Sentence: "the kernel refused: {err}", Side: Ours},
	{Code: LeakRoute, Severity: Warning, Sentence: "packets to {addr}, which the route {prefix} is to cover, leave in clear by {device}: {err} takes them", Side: Ours, Change: "routes"},
	{Code: LeakHeld, Severity: Info, Sentence: "packets to {addr} leave in clear by {device} while `vpngw down` holds the tunnel: {err} takes them", Side: Ours},
	{Code: LeakPass, Severity: Info, Sentence: "packets to {addr} leave in clear by {device} until the tunnel is first up: {err} takes them, as `before_up: pass` allows", Side: Ours, Change: "before_up"},

	{Code: Running, Severity: Error, Sentence: "{name} is the vpngw of this network namespace, which can have only one; stop that, or start this one in a network namespace of its own", Side: Ours},
	{Code: NetAdmin, Severity: Error, Sentence: "no CAP_NET_ADMIN, which devices, addresses and routes need; run as root, or with AmbientCapabilities=CAP_NET_ADMIN in the unit", Side: Ours},
	{Code: NetRaw, Severity: Error, Sentence: "no CAP_NET_RAW, which sockets for ESP, protocol 50, need; run as root, or with AmbientCapabilities=CAP_NET_RAW in the unit", Side: Ours},
	{Code: NoTUN, Severity: Error, Sentence: "no /dev/net/tun; modprobe tun (in a container: --device /dev/net/tun)", Side: Ours},
	{Code: TUNDenied, Severity: Error, Sentence: "this user may not open /dev/net/tun; run as root, or allow the device to the unit or container", Side: Ours},
	{Code: PortInUse, Severity: Error, Sentence: "UDP port {count} is in use by {name}; stop that, or narrow `listen` to addresses that it leaves free (another vpngw needs a network namespace of its own)", Side: Ours, Change: "listen"},
	{Code: IPForward, Severity: Warning, Sentence: "ip_forward is 0: hosts behind this gateway will not be reached; sysctl -w net.ipv4.ip_forward=1", Side: Ours},
	{Code: ForwardDrop, Severity: Warning, Sentence: "the chain {name} of nftables drops forwarded packets that no rule accepts, those of hosts behind this gateway too; {ours}", Side: Ours},
	{Code: RPFilter, Severity: Warning, Sentence: "rp_filter is 1 on {name}: packets are dropped that arrive by another device than the answer would leave by; keep it, but where a peer lies within a tunnel's prefix or routes are asymmetric: sysctl -w net/ipv4/conf/{device}/rp_filter=2, with discard_cleartext on", Side: Ours},
	{Code: Cleartext, Severity: Warning, Sentence: "cleartext from the networks behind the tunnels is accepted by every device, since nftables cannot discard it: {err}; use a kernel with nf_tables, or discard it elsewhere and set `discard_cleartext: no`", Side: Ours, Change: "discard_cleartext"},
}
