package ipsec

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	for in, want := range map[string]struct {
		id   Identity
		text string
	}{
		"192.0.2.1":        {Identity{IDIPv4, "\xc0\x00\x02\x01"}, "192.0.2.1"},
		"2001:db8::1":      {Identity{IDIPv6, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"}, "2001:db8::1"},
		"::ffff:192.0.2.1": {Identity{IDIPv4, "\xc0\x00\x02\x01"}, "192.0.2.1"},
		"hq.example.org":   {Identity{IDFQDN, "hq.example.org"}, "hq.example.org"},
		"@hq":              {Identity{IDFQDN, "hq"}, "hq"},
		"fqdn:192.0.2.1":   {Identity{IDFQDN, "192.0.2.1"}, "192.0.2.1"},
		"a@example.org":    {Identity{IDEmail, "a@example.org"}, "a@example.org"},
		"@#00ff":           {Identity{IDKeyID, "\x00\xff"}, "@#00ff"},
		"keyid:branch":     {Identity{IDKeyID, "branch"}, "keyid:branch"},
	} {
		id := ParseIdentity(in)
		if id != want.id || id.String() != want.text {
			t.Errorf("%s: got %#v printed %s", in, id, id)
		}
	}
}

func TestNamesOfHostsAreTheSameInAnyCase(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"GW.Example.NET", "gw.example.net", true},
		{"joe@EXAMPLE.org", "joe@example.org", true},
		{"Joe@example.org", "joe@example.org", false},
		{"keyid:Branch", "keyid:branch", false},
		{"fqdn:192.0.2.1", "192.0.2.1", false},
		{"fqdn:\xc3\x84", "fqdn:\xc3\xa4", false},
		{"gw.example.net", "gw.example.org", false},
	} {
		a, b := ParseIdentity(c.a), ParseIdentity(c.b)
		if a.Same(b) != c.same || b.Same(a) != c.same || a.Welcomes(b) != c.same || !a.Same(a) || !AnyIdentity.Welcomes(a) || a.Same(AnyIdentity) {
			t.Errorf("%s and %s: the same: %v", c.a, c.b, a.Same(b))
		}
	}
}

func TestIdentityPrintsNothingUnprintable(t *testing.T) {
	id := Identity{IDFQDN, "a\x1b[31m\n"}
	if s := id.String(); strings.ContainsAny(s, "\x1b\n") {
		t.Errorf("%q", s)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	type holder struct {
		Key  Secret
		Keys Keys
	}
	s := Secret("hunter2")
	h := holder{s, Keys{s, s}}
	j, _ := json.Marshal(h)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", s, "h", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", s, "h", h)
	out := fmt.Sprintf("%v %+v %#v %s %x %X %q %d %v %#v %s", s, s, s, s, s, s, s, s, h, h, h) + string(j) + log.String()
	for _, leak := range []string{"hunter2", "68756e74657232", "aHVudGVyMg", "104 117"} {
		if strings.Contains(out, leak) || strings.Contains(strings.ToLower(out), leak) {
			t.Errorf("%s in %s", leak, out)
		}
	}
	if !s.Equal(Secret("hunter2")) || s.Equal(Secret("hunter3")) || s.Equal(nil) {
		t.Error("Equal is wrong")
	}
	s.Clear()
	if string(s) != strings.Repeat("\x00", 7) {
		t.Error("Clear left something")
	}
}

func TestFoldedAgreesWithSame(t *testing.T) {
	var ids []Identity
	for _, s := range []string{"hq.example", "HQ.Example", "a@b.example", "A@b.example", "a@B.EXAMPLE", "192.0.2.1", "@#4142", "@#6162", "hq.Éxample", "hq.éxample"} {
		ids = append(ids, ParseIdentity(s))
	}
	ids = append(ids, AnyIdentity, Identity{IDEmail, "NoAt"}, Identity{IDEmail, "noat"})
	for _, a := range ids {
		for _, b := range ids {
			if same := a.Folded() == b.Folded(); same != a.Same(b) {
				t.Errorf("%v and %v: folded they are the same: %v, and by Same: %v", a, b, same, a.Same(b))
			}
		}
	}
}
