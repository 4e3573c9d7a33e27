package wire

import (
	"reflect"
	"testing"
)

// FuzzParse checks that no input panics, and that a parsed message is the same after
// a round trip.
func FuzzParse(f *testing.F) {
	for _, m := range samples() {
		f.Add(m.Marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 {
			ParseChain(PayloadType(b[0]), b[1:])
		}
		m, err := Parse(b)
		if err != nil {
			return
		}
		c := m.Marshal()
		if len(c) < len(b) {
			return // an unknown transform or selector was left out
		}
		again, err := Parse(c)
		if err != nil {
			t.Fatalf("%v: what was marshalled does not parse: %v", dump(m), err)
		}
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("%v came back as %v", dump(m), dump(again))
		}
	})
}
