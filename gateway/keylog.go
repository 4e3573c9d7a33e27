package gateway

import (
	"context"
	"io"
	"sync"
	"time"

	"vpngw/ike/sa"
)

// KeyRows is a part of a key log. The first has Tunnels and Until.
type KeyRows struct {
	Tunnels []string   `json:"tunnels,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Table   string     `json:"table,omitempty"` // of Wireshark, by the name of its file
	Rows    string     `json:"rows,omitempty"`
	Lost    int        `json:"lost,omitempty"` // rows that found no room, because the reader was slow
}

// LogKeys writes down the keys of a connection or tunnel: those of its present IKE SAs and Child SAs, and each new one, for so
// long at most. It returns when the time is over, ctx ends or take fails. take is called from the same goroutine.
// Of a peer whose identity is not known yet, the keys are those of all tunnels that its address can have.
func (g *Gateway) LogKeys(ctx context.Context, name string, during time.Duration, take func(KeyRows) error) error {
	rows := &keyRows{more: make(chan struct{}, 1)}
	var x *exposure
	err := g.call(ctx, func(now time.Time) error {
		var hit []*entry
		var err error
		if x, hit, err = g.expose(now, Keys, name, during); err != nil {
			return err
		}
		x.rows = rows
		present := func(table sa.KeyTable, _ ...string) io.Writer { return tableWriter{rows, table} }
		for _, e := range hit {
			g.ike.LogKeys(e.tunnel.Name, present)
			for _, in := range g.data.byTunnel[e.tunnel.Name] {
				c := *in.sa
				c.Path = in.path
				sa.LogESP(tableWriter{rows, sa.ESPKeys}, &c)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer rows.clear()
	defer g.conceal(x)
	if err := take(KeyRows{Tunnels: x.tunnels, Until: &x.until}); err != nil {
		return err
	}
	timer := time.NewTimer(during)
	defer timer.Stop()
	for end := false; !end; {
		select {
		case <-rows.more:
		case <-timer.C:
			end = true
		case <-g.stopped:
			end = true
		case <-ctx.Done():
			end = true
		}
		if err := rows.take(take); err != nil {
			return err
		}
	}
	return nil
}

// maxKeyRows is how many bytes of rows wait for a slow reader: a row has some hundred.
const maxKeyRows = 1 << 20

// keyRows are rows that wait for the reader of a key log. Safe for concurrent use.
type keyRows struct {
	mu   sync.Mutex
	rows []waitingRows
	size int
	lost int
	more chan struct{} // one element: there are rows
}

type waitingRows struct {
	table sa.KeyTable
	text  []byte
}

// tableWriter takes rows of one table.
type tableWriter struct {
	to    *keyRows
	table sa.KeyTable
}

// Write never fails and never waits.
func (w tableWriter) Write(b []byte) (int, error) {
	k := w.to
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.size+len(b) > maxKeyRows {
		k.lost++
		return len(b), nil
	}
	k.size += len(b)
	k.rows = append(k.rows, waitingRows{w.table, append([]byte(nil), b...)})
	nudge(k.more)
	return len(b), nil
}

// take hands over what waits.
func (k *keyRows) take(to func(KeyRows) error) error {
	k.mu.Lock()
	rows, lost := k.rows, k.lost
	k.rows, k.size, k.lost = nil, 0, 0
	k.mu.Unlock()
	var err error
	for _, r := range rows {
		if err == nil {
			err = to(KeyRows{Table: string(r.table), Rows: string(r.text)})
		}
		clear(r.text)
	}
	if lost > 0 && err == nil {
		err = to(KeyRows{Lost: lost})
	}
	return err
}

// clear forgets what nobody took.
func (k *keyRows) clear() { k.take(func(KeyRows) error { return io.EOF }) }
