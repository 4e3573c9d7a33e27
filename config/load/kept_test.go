package load

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestAKeptTextIsTheText(t *testing.T) {
	for _, n := range []int{0, 1, keptWhole, keptWhole + 1, 1 << 20} {
		text := []byte(strings.Repeat("connection: office\n", n/19+1)[:n])
		k := keep(text)
		got, err := k.bytes()
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: got %d back (%v)", n, len(got), err)
		}
		if size := len(k.text) + len(k.packed); n > keptWhole && size > n/10 {
			t.Errorf("%d bytes take %d", n, size)
		}
		a, _ := json.Marshal(k)
		if b, _ := json.Marshal(append([]byte{}, text...)); !bytes.Equal(a, b) {
			t.Errorf("%d bytes: as JSON it is not that of the bytes", n)
		}
		var back keptText
		if err := json.Unmarshal(a, &back); err != nil {
			t.Fatal(err)
		}
		if got, err := back.bytes(); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes: got %d back from JSON (%v)", n, len(got), err)
		}
	}
}
