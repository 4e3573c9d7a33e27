package test

import (
	"encoding/binary"
	"net"
	"strconv"
	"strings"
	"testing"

	"vpngw/test/lab"
)

// forge sends ESP packets in UDP with the right SPI and rising sequence numbers,
// from the namespace that it is called in to the cloud, with an ICV that no key made.
func forge(t *testing.T, spi string) {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(spi, "0x"), 16, 32)
	if err != nil {
		t.Fatalf("the SPI %q: %v", spi, err)
	}
	c, err := net.Dial("udp", net.JoinHostPort(lab.CloudAddr, "4500"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 128)
	binary.BigEndian.PutUint32(b, uint32(n))
	for seq := range uint32(100) {
		binary.BigEndian.PutUint32(b[4:], 1<<20+seq)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
}
