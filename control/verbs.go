package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"vpngw/gateway"
)

// verb is a request that the daemon answers.
type verb struct {
	pattern string                        // as http.ServeMux has it
	admin   bool                          // whoever may only look is refused
	body    func() named                  // what the body is read into; nil: it does not count
	query   func(url.Values) (any, error) // reads the query; nil: it does not count
	waits   bool                          // it may wait, and gives way to a newcomer meanwhile
	do      func(ctx context.Context, in any) (any, error)
	stream  func(ctx context.Context, in any, to *stream) error // instead of do: an answer that goes on
}

// named is a body that names a connection or a tunnel.
type named interface{ name() string }

// checked is a body that has more to check than its name.
type checked interface{ check() error }

func newTarget() named { return new(target) }

// verbs are all requests.
func verbs(d Daemon, version string) []verb {
	get := func(name string, do func(context.Context) (any, error)) verb {
		return verb{pattern: "GET /v1/" + name, do: func(ctx context.Context, _ any) (any, error) { return do(ctx) }}
	}
	post := func(name string, body func() named, do func(context.Context, named) error) verb {
		return verb{pattern: "POST /v1/" + name, admin: true, body: body, do: func(ctx context.Context, in any) (any, error) {
			return nil, do(ctx, in.(named))
		}}
	}
	return append([]verb{
		get("status", func(ctx context.Context) (any, error) { return d.Status(ctx) }),
		get("counters", func(ctx context.Context) (any, error) { return d.Counters(ctx) }),
		get("version", func(context.Context) (any, error) { return Version{version}, nil }),
		{pattern: "GET /v1/events", query: readNext, waits: true, do: func(ctx context.Context, in any) (any, error) {
			n := in.(next)
			if n.follow {
				return follow(ctx, d, n)
			}
			list, err := d.Events(ctx, n.name, n.after, n.wait)
			return Events{list}, err
		}},
		{pattern: "GET /v1/diagnosis", query: readName, do: func(ctx context.Context, in any) (any, error) {
			list, err := d.Diagnose(ctx, in.(string))
			return Diagnoses{list}, err
		}},
		{pattern: "GET /v1/routes", query: readAnyName, do: func(ctx context.Context, in any) (any, error) {
			list, err := d.Routes(ctx, in.(string))
			return Routes{list}, err
		}},
		{pattern: "GET /v1/config", query: readAnyName, do: func(ctx context.Context, in any) (any, error) { return d.Explain(ctx, in.(string)) }},
		get("log-level", func(context.Context) (any, error) { return d.LogLevel(), nil }),
		{pattern: "POST /v1/log-level", admin: true, body: func() named { return new(level) }, do: func(_ context.Context, in any) (any, error) {
			l := in.(*level)
			return d.SetLogLevel(l.parsed, time.Duration(l.For)*time.Second), nil
		}},
		get("openapi.json", func(context.Context) (any, error) { return openAPI, nil }),
		post("up", newTarget, func(ctx context.Context, b named) error { return d.Up(ctx, b.name()) }),
		post("down", newTarget, func(ctx context.Context, b named) error { return d.Down(ctx, b.name()) }),
		post("failover", newTarget, func(ctx context.Context, b named) error { return d.Failover(ctx, b.name()) }),
		post("failback", newTarget, func(ctx context.Context, b named) error { return d.Failback(ctx, b.name()) }),
		post("rekey", func() named { return new(rekey) }, func(ctx context.Context, b named) error {
			return d.Rekey(ctx, b.name(), b.(*rekey).what())
		}),
		{pattern: "POST /v1/reload", admin: true, do: func(ctx context.Context, _ any) (any, error) { return d.Reload(ctx) }},
		{pattern: "POST /v1/plan", admin: true, do: func(ctx context.Context, _ any) (any, error) { return d.Plan(ctx) }},
		{pattern: "POST /v1/try", admin: true, query: readTrial, do: func(ctx context.Context, in any) (any, error) {
			return d.Try(ctx, in.(time.Duration))
		}},
		{pattern: "POST /v1/confirm", admin: true, do: func(ctx context.Context, _ any) (any, error) { return nil, d.Confirm(ctx) }},
	}, streams(d)...)
}

func (v verb) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := clientOf(r.Context())
	if v.admin && !c.admin() {
		write(w, http.StatusForbidden, failure{Error: fmt.Sprintf(
			"user %d may only look (status, counters, events, diagnosis, routes, version and the other GET requests); %s needs root or the daemon's own user, %d: use sudo", c.from, r.URL.Path[len("/v1/"):], c.door.owner)})
		return
	}
	var in any
	if v.body != nil {
		body := v.body()
		if !read(w, r, body) {
			return
		}
		if c, ok := body.(checked); ok {
			if err := c.check(); err != nil {
				write(w, http.StatusBadRequest, failure{Error: err.Error()})
				return
			}
		}
		in = body
	} else if !skip(w, r) {
		return
	}
	if v.query != nil {
		var err error
		if in, err = v.query(r.URL.Query()); err != nil {
			write(w, http.StatusBadRequest, failure{Error: err.Error()})
			return
		}
	}
	if v.stream != nil {
		v.serveStream(w, r, in)
		return
	}
	var out any
	var err error
	do := func() { out, err = v.do(r.Context(), in) }
	if v.waits {
		do()
	} else {
		defer gateway.Burst()()
		c.work(do)
	}
	answer(w, out, err)
}
