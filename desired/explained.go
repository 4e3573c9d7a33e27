package desired

import (
	"context"
	"errors"

	"vpngw/config/drift"
	"vpngw/config/explain"
	"vpngw/config/load"
	"vpngw/gateway"
)

// Explained is what runs: the effective parameters of each tunnel, and of one connection that is asked for what of them a
// cloud has to have alike. It holds no key.
type Explained struct {
	File        string           `json:"file"` // that it was loaded from
	Tunnels     []explain.Tunnel `json:"tunnels"`
	Connections []drift.View     `json:"connections"` // none without a name: each has all gateways, so many would be their square
}

// Explain explains what runs, with a name the connection or tunnel of that name.
func (s *State) Explain(_ context.Context, name string) (Explained, error) {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running == nil || running.Result == nil {
		return Explained{}, errors.New("what runs cannot be explained")
	}
	r, problems := running.Result()
	if r == nil {
		return Explained{}, &InvalidError{problems}
	}
	return explained(r, name)
}

func explained(r *load.Result, name string) (Explained, error) {
	out := Explained{Tunnels: append([]explain.Tunnel{}, explain.Of(r, name)...), Connections: []drift.View{}}
	if r.Source != nil {
		out.File = r.Source.Name
	}
	if name == "" {
		return out, nil
	}
	if v, ok := drift.Of(r, name); ok {
		out.Connections = append(out.Connections, v)
	}
	if len(out.Tunnels) == 0 {
		var known []string
		for _, c := range r.Connections {
			known = append(known, c.Name)
		}
		return Explained{}, &gateway.UnknownNameError{Name: name, Known: known}
	}
	return out, nil
}
