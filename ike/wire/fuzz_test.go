package wire

import (
	"reflect"
	"testing"
)

// FuzzParse: no input panics, and what parses is the same after a round trip.
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
			return // a transform or selector was left out, as nobody understands it
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
