package desired

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"vpngw/store"
)

// Holds are the tunnels that the operator has taken down, kept over restarts. It is a gateway.Holds; not safe for
// concurrent use.
type Holds struct {
	dir   store.Dir
	names []string // sorted
}

const holdsRecord = "held.json"

// OpenHolds reads the holds that a directory has.
func OpenHolds(dir string) (*Holds, error) {
	h := &Holds{dir: store.Dir(dir)}
	text, err := h.dir.Get(holdsRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &h.names)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, which names the tunnels that `vpngw down` holds: %w; correct it, or remove it to release them all", h.dir.Path(holdsRecord), err)
	}
	slices.Sort(h.names)
	h.names = slices.Compact(h.names)
	return h, nil
}

// Held reports whether a tunnel is held.
func (h *Holds) Held(tunnel string) bool {
	_, ok := slices.BinarySearch(h.names, tunnel)
	return ok
}

// Hold holds a tunnel or releases it. An error changes nothing.
func (h *Holds) Hold(tunnel string, held bool) error {
	if h.Held(tunnel) == held {
		return nil
	}
	next := slices.DeleteFunc(slices.Clone(h.names), func(n string) bool { return n == tunnel })
	if held {
		i, _ := slices.BinarySearch(next, tunnel)
		next = slices.Insert(next, i, tunnel)
	}
	if err := h.write(next); err != nil {
		return err
	}
	h.names = next
	return nil
}

func (h *Holds) write(names []string) error {
	if len(names) == 0 {
		return h.dir.Delete(holdsRecord)
	}
	text, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return h.dir.Put(holdsRecord, append(text, '\n'))
}
