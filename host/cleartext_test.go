package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// verdicts lists the elements of our table in the kernel, as lines "pass_ipv4_32 198.51.100.9".
func (s *space) verdicts() map[string]bool {
	s.t.Helper()
	out := make(map[string]bool)
	s.run(func() {
		c, err := nftables.New()
		s.must(err)
		sets, err := c.GetSets(&nftables.Table{Name: ownTable, Family: nftables.TableFamilyINet})
		if err != nil {
			return // there is no table
		}
		for _, set := range sets {
			elements, err := c.GetSetElements(set)
			s.must(err)
			for _, e := range elements {
				a, _ := netip.AddrFromSlice(e.Key)
				out[set.Name+" "+a.String()] = true
			}
		}
	})
	return out
}

func (e element) line() string { return e.set().String() + " " + e.prefix.Addr().String() }

// modelCleartext predicts, as plainly as possible, the elements of the table for the States of the owners and
// the objects of the kernel.
func modelCleartext(states []State, ours, foreign map[string]bool) map[string]bool {
	out := make(map[string]bool)
	var routes []netip.Prefix
	for line := range ours {
		if f := strings.Fields(line); f[0] == "route" {
			if p := netip.MustParsePrefix(f[2]); p.Bits() > 1 {
				routes = append(routes, p)
				out[element{p, dropped}.line()] = true
			}
		}
	}
	for line := range foreign {
		if f := strings.Fields(line); f[0] == "route" && f[1] == fmt.Sprint(unix.RT_TABLE_MAIN) {
			p := netip.MustParsePrefix(f[2])
			for _, q := range routes {
				if q.Bits() < p.Bits() && q.Contains(p.Addr()) && !slices.Contains(routes, p) { // where ours wins, the foreign one counts for nothing
					out[element{p, passed}.line()] = true
				}
			}
		}
	}
	for _, s := range states {
		for _, a := range s.Peers {
			p := around(a, a.BitLen())
			delete(out, element{p, dropped}.line())
			out[element{p, passed}.line()] = true
		}
	}
	if len(routes) == 0 { // there is no table
		return nil
	}
	return out
}

// Default routes and their halves lead into a tunnel from everywhere, and drop nothing.
func TestDefaultRoutesDropNothing(t *testing.T) {
	s, h := world(t, "vpn0")
	h.cleartext.on = true
	state := State{Devices: []DeviceState{{Name: "vpn0"}}}
	for _, p := range prefixes("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "::/1", "8000::/1") {
		state.Devices[0].Routes = append(state.Devices[0].Routes, Route{Prefix: p})
	}
	_, err := h.Set("a", state)
	s.must(err)
	if got := s.exec("nft", "list", "ruleset"); got != "" {
		t.Errorf("there is\n%s", got)
	}
	if ours, _ := s.kernelState(); len(ours) < len(state.Devices[0].Routes) {
		t.Errorf("the routes are not in: %v", ours)
	}
}

// A source is dropped by the longest prefix that contains it: a peer, an on-link network and a route
// of another program pass inside a route of ours, and a route of ours is dropped inside those.
func TestLongestPrefixDecidesAboutCleartext(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	h.cleartext.on = true
	s.addr("eth1", "10.1.2.1/24")
	s.ip("route", "add", "10.9.0.0/16", "via", "192.0.2.7")
	_, err := h.Set("a", State{
		Peers:   []netip.Addr{netip.MustParseAddr("10.7.7.7"), netip.MustParseAddr("198.51.100.9")},
		Devices: []DeviceState{{Name: "vpn0", Routes: []Route{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}},
	})
	s.must(err)
	_, err = h.Set("b", State{Devices: []DeviceState{{Name: "vpn1", Routes: []Route{{Prefix: netip.MustParsePrefix("10.1.2.128/25")}, {Prefix: netip.MustParsePrefix("10.1.0.0/16")}}}}})
	s.must(err)
	want := map[string]bool{
		"drop_ipv4_8 10.0.0.0": true, "drop_ipv4_16 10.1.0.0": true, "pass_ipv4_24 10.1.2.0": true, "drop_ipv4_25 10.1.2.128": true,
		"pass_ipv4_16 10.9.0.0": true, "pass_ipv4_32 10.7.7.7": true, "pass_ipv4_32 198.51.100.9": true,
	}
	compare(t, "first", s.verdicts(), want)
	s.ip("addr", "del", "10.1.2.1/24", "dev", "eth1") // IPv4 sends no event for the route
	delete(want, "pass_ipv4_24 10.1.2.0")
	_, err = h.Set("c", State{})
	s.must(err)
	compare(t, "without the on-link network", s.verdicts(), want)
	_, err = h.Set("a", State{})
	s.must(err)
	compare(t, "with b alone", s.verdicts(), map[string]bool{"drop_ipv4_16 10.1.0.0": true, "drop_ipv4_25 10.1.2.128": true})
}

// countedTable counts how often the table was made.
type countedTable struct {
	packetTable
	made atomic.Int32
}

func (w *countedTable) replace(all []element) error {
	w.made.Add(1)
	return w.packetTable.replace(all)
}

// discarding runs Discard until the test ends.
func discarding(t *testing.T, h *Host) *countedTable {
	w := &countedTable{packetTable: h.cleartext.table}
	h.cleartext.table = w
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Discard(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

// What another program takes out of the table is back, and nothing that we do counts as its work.
func TestDiscardPutsTheTableBack(t *testing.T) {
	s, h := world(t, "vpn0")
	w := discarding(t, h)
	_, err := h.Set("a", crashState)
	s.must(err)
	rules := func() string { return s.exec("nft", "-s", "list", "ruleset") }
	eventually(t, "the table is there", func() bool { return rules() != "" })
	want, made := rules(), w.made.Load()
	for _, c := range []string{
		"flush ruleset", "delete table inet " + ownTable, "flush set inet " + ownTable + " drop_ipv4_16",
		"delete element inet " + ownTable + " drop_ipv4_24 { 198.51.100.0 }", "add element inet " + ownTable + " pass_ipv4_32 { 10.20.0.1 }",
		"flush chain inet " + ownTable + " prerouting", "insert rule inet " + ownTable + " prerouting accept",
	} {
		s.exec("nft", c)
		eventually(t, c+": the table is made again", func() bool { return w.made.Load() > made })
		made = w.made.Load()
		eventually(t, c+": the table is as before", func() bool { return rules() == want })
	}
	for _, state := range []State{{}, crashState} {
		_, err := h.Set("b", State{Peers: state.Peers})
		s.must(err)
	}
	s.exec("nft", "add table inet x; delete table inet x") // a foreign one: the events before it are handled now
	s.exec("nft", "delete table inet "+ownTable)
	eventually(t, "the table is made again", func() bool { return w.made.Load() > made })
	if n := w.made.Load() - made; n > 2 { // 2: the events of the one change came in two reads
		t.Errorf("the table was made %d times for one change of another program", n)
	}
}

// refusing is a table that the kernel refuses, or a change of it.
type refusing struct {
	packetTable
	changes, tables error
	tried           int
}

func (r *refusing) change(remove, add []element) error {
	if r.changes != nil {
		return r.changes
	}
	return r.packetTable.change(remove, add)
}

func (r *refusing) replace(all []element) error {
	if r.tried++; r.tables != nil {
		return r.tables
	}
	return r.packetTable.replace(all)
}

// A table that can't be changed is made again. One that can't be made does not keep the routes out,
// and is not tried at every Set.
func TestRefusedTable(t *testing.T) {
	s, h := world(t, "vpn0", "vpn1")
	codes := &codes{}
	h.log = slog.New(codes)
	r := &refusing{packetTable: h.cleartext.table, tables: unix.ENOMEM}
	h.cleartext.table, h.cleartext.on = r, true
	other := State{Devices: []DeviceState{{Name: "vpn1", Routes: []Route{{Prefix: netip.MustParsePrefix("10.30.0.0/16")}}}}}
	for _, owner := range []string{"a", "b"} {
		res, err := h.Set(owner, map[string]State{"a": crashState, "b": other}[owner])
		if err != nil || len(res.Blocked) > 0 {
			t.Error(res, err)
		}
	}
	if r.tried != 1 || !slices.Equal(codes.seen, []diag.Code{diag.Cleartext}) {
		t.Errorf("%d tries, warned of %v", r.tried, codes.seen)
	}
	r.tables, r.changes = nil, unix.ENOENT
	h.cleartext.failed = h.cleartext.failed.Add(-refilter)
	for i, state := range []State{{}, other, {}} {
		_, err := h.Set("b", state)
		s.must(err)
		_, foreign := s.kernelState()
		ours, _ := s.kernelState()
		compare(t, fmt.Sprint("after change ", i), s.verdicts(), modelCleartext([]State{crashState, state}, ours, foreign))
	}
	if r.tried != 4 {
		t.Errorf("%d tries, want one for each change", r.tried)
	}
}

// A refused transaction changes nothing, and the next one gets its own answers.
func TestTransactionAfterARefusedOne(t *testing.T) {
	s, _ := world(t)
	tab, err := openTable()
	s.must(err)
	defer tab.Close()
	el := func(p string) element { return element{netip.MustParsePrefix(p), dropped} }
	s.must(tab.replace([]element{el("10.1.0.0/16")}))
	for range 3 {
		if err := tab.change([]element{el("10.2.0.0/16"), el("10.3.0.0/16")}, []element{el("10.4.0.0/24")}); err != unix.ENOENT {
			t.Errorf("got %v, want %v", err, unix.ENOENT)
		}
	}
	s.must(tab.replace([]element{el("10.1.0.0/16")}))
	s.must(tab.change(nil, []element{el("10.5.0.0/16"), el("10.4.0.0/24")}))
	s.must(tab.change([]element{el("10.1.0.0/16")}, nil))
	compare(t, "the table", s.verdicts(), map[string]bool{el("10.5.0.0/16").line(): true, el("10.4.0.0/24").line(): true})
	s.must(tab.remove())
	if err := tab.remove(); err != unix.ENOENT {
		t.Errorf("no table: got %v, want %v", err, unix.ENOENT)
	}
}

// Without nftables the routes are set all the same, and a warning says what is missing.
func TestHostWithoutNftablesWarns(t *testing.T) {
	s, h := world(t, "vpn0")
	codes := &codes{}
	h.log = slog.New(codes)
	h.filters[unix.NETLINK_NETFILTER].Close()
	delete(h.filters, unix.NETLINK_NETFILTER)
	s.must(h.Discard(t.Context()))
	res, err := h.Set("a", crashState)
	if err != nil || len(res.Blocked) > 0 {
		t.Error(res, err)
	}
	if !slices.Equal(codes.seen, []diag.Code{diag.Cleartext}) {
		t.Errorf("warned of %v", codes.seen)
	}
}

// codes is a log handler that keeps the codes of causes.
type codes struct {
	slog.Handler
	seen []diag.Code
}

func (c *codes) Enabled(context.Context, slog.Level) bool { return true }

func (c *codes) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if code, ok := a.Value.Any().(diag.Code); ok {
			c.seen = append(c.seen, code)
		}
		return true
	})
	return nil
}
