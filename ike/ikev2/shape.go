package ikev2

import (
	"fmt"

	"vpngw/diag"
	"vpngw/ike/wire"
)

// shape says which payloads a message must and may have (RFC 7296 sections 1.2 to
// 1.4 and appendix C). Other payloads are ignored, as section 2.5 says.
type shape struct {
	must []wire.PayloadType // each exactly once
	may  []wire.PayloadType // each at most once
}

type messageKind struct {
	exchange wire.Exchange
	response bool
}

// shapes is checked once for each message, before any step. A response may be an
// error notification alone instead.
var shapes = map[messageKind]shape{
	{wire.ExchangeSAInit, false}: {must: []wire.PayloadType{wire.TypeSA, wire.TypeKE, wire.TypeNonce}},
	{wire.ExchangeSAInit, true}:  {must: []wire.PayloadType{wire.TypeSA, wire.TypeKE, wire.TypeNonce}},
	{wire.ExchangeAuth, false}: {
		must: []wire.PayloadType{wire.TypeIDi, wire.TypeAuth},
		may:  []wire.PayloadType{wire.TypeIDr, wire.TypeSA, wire.TypeTSi, wire.TypeTSr},
	},
	{wire.ExchangeAuth, true}: {
		must: []wire.PayloadType{wire.TypeIDr, wire.TypeAuth},
		may:  []wire.PayloadType{wire.TypeSA, wire.TypeTSi, wire.TypeTSr},
	},
	{wire.ExchangeCreateChild, false}: {
		must: []wire.PayloadType{wire.TypeSA, wire.TypeNonce},
		may:  []wire.PayloadType{wire.TypeKE, wire.TypeTSi, wire.TypeTSr},
	},
	{wire.ExchangeCreateChild, true}: {
		must: []wire.PayloadType{wire.TypeSA, wire.TypeNonce},
		may:  []wire.PayloadType{wire.TypeKE, wire.TypeTSi, wire.TypeTSr},
	},
	{wire.ExchangeInformational, false}: {},
	{wire.ExchangeInformational, true}:  {},
}

// checkShape reports which payload a message lacks or has too often.
func checkShape(x wire.Exchange, response bool, ps []wire.Payload) error {
	sh, ok := shapes[messageKind{x, response}]
	if !ok {
		return syntax("exchange type %v is not known", x)
	}
	if response && errorNotify(ps) != nil {
		return nil
	}
	count := map[wire.PayloadType]int{}
	for _, p := range ps {
		count[p.Type()]++
	}
	for _, t := range sh.must {
		if count[t] != 1 {
			return syntax("%v with %d %v payloads instead of 1", x, count[t], t)
		}
	}
	for _, t := range sh.may {
		if count[t] > 1 {
			return syntax("%v with %d %v payloads", x, count[t], t)
		}
	}
	return nil
}

// errorNotify is the first error notification, or nil.
func errorNotify(ps []wire.Payload) *wire.Notify {
	for _, p := range ps {
		if n, ok := p.(*wire.Notify); ok && n.Kind.IsError() {
			return n
		}
	}
	return nil
}

func syntax(format string, args ...any) *wire.NotifyError {
	return refuse(wire.InvalidSyntax, diag.Cause{Code: diag.Malformed, Err: fmt.Sprintf(format, args...)})
}

func refuse(kind wire.NotifyType, why diag.Cause) *wire.NotifyError {
	return &wire.NotifyError{Kind: kind, Cause: why}
}
