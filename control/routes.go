package control

import (
	"net/url"

	"vpngw/gateway"
)

// Routes is the answer to GET /v1/routes.
type Routes struct {
	Routes []gateway.RouteStatus `json:"routes"`
}

func readAnyName(q url.Values) (any, error) { return q.Get("name"), nil }
