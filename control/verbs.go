package control

import (
	"context"
	"fmt"
	"net/http"
)

// verb is a request that the daemon answers.
type verb struct {
	pattern string       // as http.ServeMux has it
	admin   bool         // whoever may only look is refused
	body    func() named // what the body is read into; nil: the request has none
	do      func(ctx context.Context, body named) (any, error)
}

// named is a body that names a connection or a tunnel.
type named interface{ name() string }

func newTarget() named { return new(target) }

// verbs are all requests.
func verbs(d Daemon, version string) []verb {
	return []verb{
		{"GET /v1/status", false, nil, func(ctx context.Context, _ named) (any, error) { return d.Status(ctx) }},
		{"GET /v1/counters", false, nil, func(ctx context.Context, _ named) (any, error) { return d.Counters(ctx) }},
		{"GET /v1/version", false, nil, func(context.Context, named) (any, error) { return Version{version}, nil }},
		{"POST /v1/up", true, newTarget, func(ctx context.Context, b named) (any, error) { return nil, d.Up(ctx, b.name()) }},
		{"POST /v1/down", true, newTarget, func(ctx context.Context, b named) (any, error) { return nil, d.Down(ctx, b.name()) }},
		{"POST /v1/rekey", true, func() named { return new(rekey) }, func(ctx context.Context, b named) (any, error) {
			return nil, d.Rekey(ctx, b.name(), b.(*rekey).IKE)
		}},
		{"POST /v1/reload", true, nil, func(ctx context.Context, _ named) (any, error) { return d.Reload(ctx) }},
	}
}

func (v verb) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := clientOf(r.Context())
	if v.admin && !c.admin() {
		write(w, http.StatusForbidden, failure{Error: fmt.Sprintf(
			"user %d may only look (status, counters, version); %s needs root or the daemon's own user, %d: use sudo", c.user, r.URL.Path[len("/v1/"):], c.door.owner)})
		return
	}
	var body named
	if v.body != nil {
		if body = v.body(); !read(w, r, body) {
			return
		}
	}
	out, err := c.work(func() (any, error) { return v.do(r.Context(), body) })
	answer(w, out, err)
}
