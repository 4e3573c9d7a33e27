package ikev1

import (
	"vpngw/ike/sa"
	"vpngw/ike/wire"
)

// shape is which payloads a message has (RFC 2409 section 5). What is in no list is ignored.
type shape struct {
	must  []wire.PayloadType // each exactly once
	may   []wire.PayloadType // each at most once
	first wire.PayloadType   // at the head
	ids   bool               // two ID payloads or none
}

// shapes of the messages, by the name of the step that takes each.
var shapes = map[string]shape{
	"mm1": {must: []wire.PayloadType{wire.TypeSA1}, first: wire.TypeSA1},
	"mm2": {must: []wire.PayloadType{wire.TypeSA1}, first: wire.TypeSA1},
	"mm3": {must: []wire.PayloadType{wire.TypeKE1, wire.TypeNonce1}},
	"mm4": {must: []wire.PayloadType{wire.TypeKE1, wire.TypeNonce1}},
	"mm5": {must: []wire.PayloadType{wire.TypeID1, wire.TypeHash1}},
	"mm6": {must: []wire.PayloadType{wire.TypeID1, wire.TypeHash1}},
	"ag1": {must: []wire.PayloadType{wire.TypeSA1, wire.TypeKE1, wire.TypeNonce1, wire.TypeID1}, first: wire.TypeSA1},
	"ag2": {must: []wire.PayloadType{wire.TypeSA1, wire.TypeKE1, wire.TypeNonce1, wire.TypeID1, wire.TypeHash1}, first: wire.TypeSA1},
	"ag3": {must: []wire.PayloadType{wire.TypeHash1}},
	"qm1": {must: []wire.PayloadType{wire.TypeHash1, wire.TypeSA1, wire.TypeNonce1}, may: []wire.PayloadType{wire.TypeKE1}, first: wire.TypeHash1, ids: true},
	"qm2": {must: []wire.PayloadType{wire.TypeHash1, wire.TypeSA1, wire.TypeNonce1}, may: []wire.PayloadType{wire.TypeKE1}, first: wire.TypeHash1, ids: true},
	"qm3": {must: []wire.PayloadType{wire.TypeHash1}, first: wire.TypeHash1},
}

// check reports what a message lacks or has too often. Whatever was encrypted but
// cannot be of that shape was most likely not decrypted with the right key.
func (sh *shape) check(x wire.Exchange, ps []wire.Payload) error {
	count := map[wire.PayloadType]int{}
	for _, p := range ps {
		count[p.Type()]++
	}
	for _, t := range sh.must {
		if count[t] != 1 {
			return drop(sa.DropMalformed, "%v with %d %v payloads, which must be 1", x, count[t], t)
		}
	}
	for _, t := range sh.may {
		if count[t] > 1 {
			return drop(sa.DropMalformed, "%v with %d %v payloads", x, count[t], t)
		}
	}
	if n := count[wire.TypeID1]; sh.ids && n != 0 && n != 2 {
		return drop(sa.DropMalformed, "%v with %d ID payloads, which must be 2 or none", x, n)
	}
	if sh.first != 0 && wire.FirstType(ps) != sh.first {
		return drop(sa.DropMalformed, "%v does not begin with %v", x, sh.first)
	}
	return nil
}
