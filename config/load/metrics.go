package load

import (
	"vpngw/config"
	"vpngw/config/dialect"
)

// MetricsPort is the TCP port of metrics where the file gives none.
const MetricsPort = 9478

var metricsObject = &dialect.Object{Rows: []dialect.Row{
	{Name: "listen", Type: dialect.Endpoint{Port: MetricsPort}, Doc: "TCP address on which whoever can reach it may read the metrics: ADDRESS:PORT, an address (port 9478), or a port (on 127.0.0.1); none by default"},
}}

// metrics reads where metrics are served.
func (l *loader) metrics(v *dialect.Value) config.Metrics {
	at := v.Field("listen")
	if !at.OK() {
		return config.Metrics{}
	}
	m := config.Metrics{Listen: at.AddrPort()}
	if !m.Listen.Addr().IsLoopback() {
		l.Warn(at, dialect.Exposed, "everybody who reaches %v can read the metrics, with the names of connections and the peers' addresses, over plain HTTP: use 127.0.0.1, or let the firewall admit Prometheus only", m.Listen)
	}
	return m
}
