package load

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// A configuration keeps nothing of its file's text in memory, so that the connections which outlive a reload keep no old text.
func TestAConfigurationKeepsNoText(t *testing.T) {
	const comment = 4 << 20
	load := func() []any {
		var b strings.Builder
		b.WriteString("version: 1\nconnections:\n")
		for i := range 20 {
			fmt.Fprintf(&b, "  - name: office%d\n    native:\n      psk: ThisKeyIsLongEnough0123456789\n", i)
			fmt.Fprintf(&b, "      local: {address: 192.0.2.1, id: \"@office%d.example\", subnets: [10.0.%d.0/24]}\n", i, i)
			fmt.Fprintf(&b, "      remote: {address: 198.51.100.%d, subnets: [10.1.%d.0/24]}\n      children: lists\n", i+1, i)
		}
		b.WriteString("#" + strings.Repeat(" ", comment) + "\n")
		r, problems := Text("vpngw.yaml", []byte(b.String()), nil, Options{})
		if r == nil {
			t.Fatal(problems[0])
		}
		return []any{r.Config}
	}
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := inUse()
	kept := load()
	if n := int64(inUse()) - int64(before); n > comment/2 {
		t.Errorf("%d bytes are in use after a load, whose file has %d of comments", n, comment)
	}
	runtime.KeepAlive(kept)
}
