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
}
