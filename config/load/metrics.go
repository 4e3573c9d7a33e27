package load

import (
	"vpngw/config"
	"vpngw/config/dialect"
)

// MetricsPort is the TCP port of metrics where the file gives none.
const MetricsPort = 9478

var metricsObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "listen", Type: dialect.Endpoint{Port: MetricsPort}, Doc: "TCP address on which whoever can reach it may read the metrics: ADDRESS:PORT, an address (port 9478), or a port (on 127.0.0.1); none by default"},
	{Name: "page", Type: dialect.Bool{}, Default: "no", Doc: "serve the status page there too, for browsers: read-only, with names, addresses, causes and the traffic of the last hour"},
}}

// metrics reads where metrics are served.
func (l *loader) metrics(v *dialect.Value) config.Metrics {
	at, page := v.Field("listen"), v.Field("page")
	if !at.OK() {
		if page.OK() && page.Bool() {
			l.Fail(page, dialect.Missing, "the status page needs an address: write listen: 127.0.0.1:%d beside it", MetricsPort)
		}
		return config.Metrics{}
	}
	m := config.Metrics{Listen: at.AddrPort(), Page: page.Bool()}
	if !m.Listen.Addr().IsLoopback() {
		l.Warn(at, dialect.Exposed, "everybody who reaches %v can read the metrics, with the names of connections and the peers' addresses, over plain HTTP: use 127.0.0.1, or let the firewall admit Prometheus only", m.Listen)
	}
	return m
}
