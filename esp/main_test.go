package esp

import (
	"flag"
	"os"
	"testing"
)

var supers = flag.Int("supers", 20_000, "random super-packets to carry each way; SOAK: 1 000 000")

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("SOAK") != "" {
		*supers = 1_000_000
	}
	os.Exit(m.Run())
}
