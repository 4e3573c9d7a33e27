package diag

import "slices"

// Table is every cause, in the order of docs/diagnosis.md: one part for each of
// the rooms that find causes.
var Table = slices.Concat(
	negotiation, authentication, reachability, lifecycle, daemon, configuration, device,
	bgp,
	ikev1,
	ikev2,
	examination,
)
