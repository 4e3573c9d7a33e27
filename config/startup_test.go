package config

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

var _ map[Startup]bool // a Startup is comparable

// Every field of Startup is compared: a reload would silently ignore a change of one
// that is not.
func TestStartupDiffComparesEveryField(t *testing.T) {
	a, b := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")
	other := Startup{Listen: AddrsOf(a), Packets: true, NoFrames: true, AcceptCleartext: true, Threads: 2}
	typ := reflect.TypeFor[Startup]()
	named := map[string]bool{}
	for i := range typ.NumField() {
		var changed Startup
		from := reflect.ValueOf(other).Field(i)
		if from.IsZero() {
			t.Errorf("%s: the test gives it no value", typ.Field(i).Name)
		}
		reflect.ValueOf(&changed).Elem().Field(i).Set(from)
		d := Startup{}.Diff(changed)
		if len(d) != 1 || named[d[0]] {
			t.Errorf("%s differs, and Diff names %q", typ.Field(i).Name, d)
			continue
		}
		named[d[0]] = true
	}
	if d := other.Diff(other); d != nil {
		t.Errorf("a Startup differs from itself in %q", d)
	}
	if d := other.Diff(Startup{}); !slices.Equal(d, []string{"listen", "offload", "raw_frames", "discard_cleartext", "threads"}) {
		t.Errorf("got %q, want every key of the file", d)
	}
	if AddrsOf(a, b) == AddrsOf(b, a) {
		t.Error("the order of the addresses does not count")
	}
}

func TestAddrsGiveBackTheirAddresses(t *testing.T) {
	for _, want := range [][]netip.Addr{
		nil,
		{netip.MustParseAddr("203.0.113.9")},
		{netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("::ffff:203.0.113.9")},
	} {
		if got := AddrsOf(want...).List(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if AddrsOf() != (Addrs{}) {
		t.Error("no address is not the zero Addrs")
	}
}
