package dpd

import "time"

// Frozen is a Monitor as plain data.
type Frozen struct {
	Config       Config
	Heard, Asked time.Time
}

// Freeze lists the state of m.
func (m *Monitor) Freeze() Frozen { return Frozen{m.Config, m.heard, m.asked} }

// Thaw makes m the Monitor that f lists.
func (m *Monitor) Thaw(f Frozen) { *m = Monitor{Config: f.Config, heard: f.Heard, asked: f.Asked} }
