// Package metrics tells Prometheus what the daemon counts, in Prometheus's text format. Package control serves the
// text; docs/metrics.md lists the metrics.
//
// A text is made of one snapshot of the gateway, and is handed out for a second, whoever asks: many clients cost no more
// than one.
package metrics

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"vpngw/desired"
	"vpngw/gateway"
)

// Source is where the figures come from.
type Source interface {
	Metrics(context.Context) (gateway.Metrics, error)
	LastReload() *desired.ReloadStatus // nil: it is what runs
}

// fresh is how long a text is handed out.
const fresh = time.Second

// Text is all metrics in Prometheus's text format, as they are and packed. Nobody changes it.
type Text struct{ Plain, Gzip []byte }

// ContentType is that of a Text.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Page makes Texts. Its methods may be called from any goroutine.
type Page struct {
	source  Source
	version string
	token   chan struct{} // held by whoever uses what follows

	registry *prometheus.Registry // nil: nobody has asked yet
	snapshot *snapshot
	text     Text
	made     time.Time
}

// New makes a Page of a daemon of that version. It costs nothing until somebody asks.
func New(s Source, version string) *Page {
	return &Page{source: s, version: version, token: make(chan struct{}, 1)}
}

// Exposition returns a Text that is a second old at most.
func (p *Page) Exposition(ctx context.Context) (Text, error) {
	select {
	case p.token <- struct{}{}:
	case <-ctx.Done():
		return Text{}, ctx.Err()
	}
	defer func() { <-p.token }()
	if !p.made.IsZero() && time.Since(p.made) < fresh {
		return p.text, nil
	}
	m, err := p.source.Metrics(ctx)
	if err != nil {
		return Text{}, err
	}
	p.snapshot = &snapshot{Metrics: m, version: p.version, at: time.Now()}
	if r := p.source.LastReload(); r != nil {
		p.snapshot.reload = r.State
	}
	if err := p.render(); err != nil {
		return Text{}, fmt.Errorf("metrics: %w", err)
	}
	p.snapshot, p.made = nil, time.Now()
	return p.text, nil
}

func (p *Page) render() error {
	if p.registry == nil {
		p.registry = prometheus.NewRegistry()
		p.registry.MustRegister(
			newCollector(func() *snapshot { return p.snapshot }),
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		)
	}
	families, err := p.registry.Gather()
	if err != nil {
		return err
	}
	var plain, packed bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&plain, f); err != nil {
			return err
		}
	}
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the level is valid
	if _, err := z.Write(plain.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	p.text = Text{plain.Bytes(), packed.Bytes()}
	return nil
}
