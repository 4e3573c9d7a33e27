// Package chosen makes the values that a body leaves to the cloud, where this host is the
// cloud. Each is made once, when the daemon first runs with its connection, and kept in a
// directory, so that later starts have the same value. Package config/load, which changes
// nothing, only names the values to choose.
package chosen

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/ipsec"
	"vpngw/store"
)

// ErrNone says that a value has not been chosen yet.
var ErrNone = errors.New("not chosen yet; the daemon does that when it first runs with this connection")

// Fill sets the values that the connections' Choices name: to what is kept in dir, or to
// what it makes from rand and keeps there. With a nil rand it makes nothing: it sets the values that are
// kept, and the error is ErrNone when there are others.
func Fill(drafts []*dialect.Draft, dir string, rand io.Reader) error {
	f := &filler{dir: store.Dir(dir), rand: rand, taken: map[netip.Prefix]bool{}}
	for _, d := range drafts {
		for _, t := range d.Tunnels {
			if t.Inside.IsValid() {
				f.taken[t.Inside.Masked()] = true
			}
		}
	}
	var none error
	for _, d := range drafts {
		for i := range d.Choices {
			err := f.fill(d, &d.Choices[i])
			if err == nil {
				continue
			}
			err = fmt.Errorf("connection %q: %w", d.Connection.Name, err)
			if !errors.Is(err, ErrNone) {
				return err
			}
			none = cmp.Or(none, err)
		}
	}
	return none
}

type filler struct {
	dir   store.Dir
	rand  io.Reader
	taken map[netip.Prefix]bool // blocks that tunnels have inside
}

// kinds are the values that can be chosen: make returns a new one as a text, and take
// sets it from its text.
var kinds = map[dialect.What]struct {
	make func(*filler, *dialect.Choice) (string, error)
	take func(*filler, *dialect.Choice, *dialect.Draft, string) error
}{
	dialect.ChoosePSK:    {(*filler).makePSK, (*filler).takePSK},
	dialect.ChooseInside: {(*filler).makeInside, (*filler).takeInside},
	dialect.ChooseHealth: {(*filler).makeHealth, (*filler).takeHealth},
}

func (f *filler) fill(c *dialect.Draft, choice *dialect.Choice) error {
	kind, ok := kinds[choice.What]
	if !ok || choice.Tunnel >= len(c.Tunnels) {
		return fmt.Errorf("bug: nobody knows how to choose %q", choice.What)
	}
	name := fileName(choice.Kept)
	text, err := f.dir.Get(name)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case f.rand == nil:
		return fmt.Errorf("%s: %w", choice.What, ErrNone)
	default:
		made, err := kind.make(f, choice)
		if err != nil {
			return err
		}
		text = []byte(made + "\n")
		if err := f.dir.Put(name, text); err != nil {
			return fmt.Errorf("keep what was chosen: %w", err)
		}
	}
	if err := kind.take(f, choice, c, strings.TrimSuffix(string(text), "\n")); err != nil {
		return fmt.Errorf("%s: %w; remove the file, and another is chosen", f.dir.Path(name), err)
	}
	return nil
}

// fileName is the name of a kept value's file, short enough for every file system.
func fileName(kept string) string {
	const most = 200
	if len(kept) > most {
		return fmt.Sprintf("%s-%x", kept[:strings.IndexByte(kept, '-')], sha256.Sum256([]byte(kept)))
	}
	return kept
}

// number is a random number below n.
func (f *filler) number(n uint32) (uint32, error) {
	limit := ^uint32(0) - ^uint32(0)%n // so that each number is equally likely
	for {
		var b [4]byte
		if _, err := io.ReadFull(f.rand, b[:]); err != nil {
			return 0, err
		}
		if v := binary.BigEndian.Uint32(b[:]); v < limit {
			return v % n, nil
		}
	}
}

func (f *filler) makePSK(c *dialect.Choice) (string, error) {
	out := make([]byte, c.Length)
	for i := range out {
		n, err := f.number(uint32(len(c.Letters)))
		if err != nil {
			return "", err
		}
		out[i] = c.Letters[n]
	}
	return string(out), nil
}

func (f *filler) takePSK(c *dialect.Choice, conn *dialect.Draft, text string) error {
	if len(text) != c.Length || strings.Trim(text, c.Letters) != "" {
		return fmt.Errorf("it does not hold a key of %d letters and digits", c.Length)
	}
	conn.Tunnels[c.Tunnel].PSK = ipsec.Secret(text)
	return nil
}

// at is the n-th address of an IPv4 block.
func at(p netip.Prefix, n uint32) netip.Addr {
	a := p.Masked().Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+n)
	return netip.AddrFrom4(a)
}

func size(p netip.Prefix) uint32 { return 1 << (32 - p.Bits()) }

func excluded(c *dialect.Choice, p netip.Prefix) bool {
	return slices.ContainsFunc(c.Not, p.Overlaps)
}

func (f *filler) makeInside(c *dialect.Choice) (string, error) {
	blocks := size(c.Within) / 4
	start, err := f.number(blocks)
	if err != nil {
		return "", err
	}
	for i := range blocks {
		p := netip.PrefixFrom(at(c.Within, (start+i)%blocks*4), 30)
		if !f.taken[p] && !excluded(c, p) {
			return p.String(), nil
		}
	}
	return "", fmt.Errorf("no block is left in %v", c.Within)
}

func (f *filler) takeInside(c *dialect.Choice, conn *dialect.Draft, text string) error {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Bits() != 30 || p != p.Masked() || !c.Within.Contains(p.Addr()) || excluded(c, p) {
		return fmt.Errorf("it does not hold a /30 in %v", c.Within)
	}
	if f.taken[p] {
		return fmt.Errorf("its block, %v, is another tunnel's by now", p)
	}
	f.taken[p] = true
	low, _ := config.Hosts(p)
	t := &conn.Tunnels[c.Tunnel]
	t.SetInside(p, low, conn.Side)
	if h := t.Health; h != nil && !h.Source.IsValid() { // the pings go between the two addresses
		h.Source, h.Target = t.Inside.Addr(), t.Peer
	}
	return nil
}

func (f *filler) makeHealth(c *dialect.Choice) (string, error) {
	var out []string
	for len(out) < 2 {
		n, err := f.number(size(c.Within) - 2)
		if err != nil {
			return "", err
		}
		a := at(c.Within, n+1)
		if s := a.String(); !slices.Contains(out, s) && !excluded(c, netip.PrefixFrom(a, 32)) {
			out = append(out, s)
		}
	}
	return strings.Join(out, " "), nil
}

// takeHealth sets the addresses of the health check that the body does not give.
func (f *filler) takeHealth(c *dialect.Choice, conn *dialect.Draft, text string) error {
	one, two, _ := strings.Cut(text, " ")
	source, err := netip.ParseAddr(one)
	target, err2 := netip.ParseAddr(two)
	if err != nil || err2 != nil || !c.Within.Contains(source) || !c.Within.Contains(target) {
		return fmt.Errorf("it does not hold two addresses in %v", c.Within)
	}
	h := conn.Tunnels[c.Tunnel].Health
	if h == nil {
		return nil
	}
	if !h.Source.IsValid() {
		h.Source = source
	}
	if !h.Target.IsValid() {
		h.Target = target
	}
	return nil
}
