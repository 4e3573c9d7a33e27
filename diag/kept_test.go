package diag

import "testing"

func TestKept(t *testing.T) {
	for _, c := range []Cause{{}, {Code: PeerDead}, {Code: DeviceFailed, Device: "vpngw0", Err: "no"}, {Code: PeerDead, Because: []Cause{{Code: NoRoute}}}} {
		k := Keep(c)
		if !k.Cause().Equal(c) || !k.Equal(c) || k.OK() != c.OK() || !k.Is(c.Code) || k.Equal(Cause{Code: c.Code, Name: "another"}) {
			t.Errorf("%+v became %+v", c, k.Cause())
		}
	}
	if k := Keep(Cause{Code: PeerDead}); k.full != nil {
		t.Error("a code alone takes more than its own space")
	}
}
