package diag

// What this host lets us do: devices, routes, sockets.
const (
	DeviceFailed  Code = "device"
	DeviceGone    Code = "device-gone"
	DeviceOpening Code = "device-opening"
	RouteBlocked  Code = "route-blocked"
	HostRefused   Code = "host-refused"
)

var device = []Entry{
	{Code: DeviceFailed, Severity: Error, Sentence: "device {device}: {err}", Side: Ours, Change: "device"},
	{Code: DeviceGone, Severity: Error, Sentence: "device {device} is gone: {err}", Side: Ours},
	{Code: DeviceOpening, Severity: Info, Sentence: "device {device} is being made", Side: Nowhere},
	{Code: RouteBlocked, Severity: Error, Sentence: "route {prefix} is not in: {err} is there already", Side: Ours, Change: "routes"},
	{Code: HostRefused, Severity: Error, Sentence: "the kernel refused: {err}", Side: Ours},
}
