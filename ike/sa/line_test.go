package sa

import (
	"bytes"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"vpngw/diag"
)

// A line of an IKE SA says the same whether a Logger was made for it or not.
func TestLinesNameTheirIKESA(t *testing.T) {
	const want = "time=2026-11-28T12:00:00.000Z level=INFO msg=\"it is so\" conn=hq peer=198.51.100.1:4500 ispi=00000000000000ab rspi=cd00000000000000 " +
		"count=3 why=\"the peer deleted the IKE SA\" code=peer-deleted-ike\n"
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, nil)
	e := Env{Log: slog.New(h)}
	p, remote := &Peer{Name: "hq"}, netip.MustParseAddrPort("198.51.100.1:4500")
	why := Why(diag.Cause{Code: diag.PeerDeletedIKE})
	e.Line(now, p, remote, 0xab, 0xcd<<56, slog.LevelInfo, "it is so", slog.Int("count", 3), why)
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	out.Reset()
	Line(now, e.Named(p, remote, 0xab, 0xcd<<56), slog.LevelInfo, "it is so", slog.Int("count", 3), why)
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	out.Reset()
	e.Line(now, nil, remote, 0xab, 0xcd<<56, slog.LevelDebug, "nobody reads this")
	if out.Len() > 0 {
		t.Errorf("a line below the level: %s", out.String())
	}
}
