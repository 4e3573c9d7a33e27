package sa

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"vpngw/diag"
	"vpngw/ipsec"
)

// Why is a cause for a log line: its sentence as "why" and its code as "code".
func Why(c diag.Cause) slog.Attr {
	return slog.Attr{Value: slog.GroupValue(slog.String("why", c.String()), slog.String("code", string(c.Code)))}
}

// Line writes a line of a log. A Logger's own methods look up where in the program they are called, which no line says.
func Line(now time.Time, log *slog.Logger, level slog.Level, msg string, attrs ...slog.Attr) {
	if !log.Enabled(context.Background(), level) {
		return
	}
	r := slog.NewRecord(now, level, msg, 0)
	r.AddAttrs(attrs...)
	log.Handler().Handle(context.Background(), r) // an error has nowhere to go, as in a Logger
}

// IDText writes an identity for a sentence. It cuts long ones: a hostile identity can
// fill a datagram.
func IDText(id ipsec.Identity) string {
	text := id.String()
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	if id == ipsec.AnyIdentity || id.Type == 0 {
		return text
	}
	return text + " (" + id.Type.String() + ")"
}

// Hex64 and Hex32 write an SPI of IKE and of ESP.
func Hex64(v uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return hex.EncodeToString(b[:])
}

func Hex32(v uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return hex.EncodeToString(b[:])
}

// ListText writes the first few selectors for a sentence: a peer can send 255.
func ListText(ss []ipsec.Selector) string {
	const most = 8
	if len(ss) > most {
		return fmt.Sprintf("%v and %d more", ss[:most], len(ss)-most)
	}
	return fmt.Sprint(ss)
}

// Few lists the first names for a sentence and counts the rest.
func Few(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// GroupText is the name of a key exchange group.
func GroupText(group uint16) string { return ipsec.Transform{Type: ipsec.KE, ID: group}.String() }

// ProposalText writes the names of proposals.
func ProposalText(ps []ipsec.Proposal) string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

// PFSText writes the key exchange groups of ESP proposals: "PFS in modp2048 or ecp256", or "no PFS".
func PFSText(ps []ipsec.Proposal) string {
	var names []string
	for _, p := range ps {
		for _, t := range p.Of(ipsec.KE) {
			if !slices.Contains(names, t.String()) {
				names = append(names, t.String())
			}
		}
	}
	if len(names) == 0 {
		return "no PFS"
	}
	return "PFS in " + Alternatives(names)
}

// Alternatives writes "a or b", or "none".
func Alternatives(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " or ")
}

// Difference says in which types of transform an offer and our proposals have
// nothing in common.
func Difference(theirs, own []ipsec.Proposal, withKE bool) string {
	types := []ipsec.TransformType{ipsec.Encr, ipsec.Integ, ipsec.PRF, ipsec.KE, ipsec.ESN}
	const most = 12 // names of one type: a hostile offer has thousands
	list := func(ps []ipsec.Proposal, t ipsec.TransformType) []string {
		var out []string
		for _, p := range ps {
			for _, tr := range p.Of(t) {
				if len(out) == most {
					return out
				}
				if !slices.Contains(out, tr.String()) {
					out = append(out, tr.String())
				}
			}
		}
		return out
	}
	var parts []string
	for _, t := range types {
		if t == ipsec.KE && !withKE {
			continue
		}
		a, b := list(own, t), list(theirs, t)
		if !slices.ContainsFunc(a, func(n string) bool { return slices.Contains(b, n) }) && len(a)+len(b) > 0 {
			parts = append(parts, t.String()+": ours "+Alternatives(a)+", theirs "+Alternatives(b))
		}
	}
	if parts == nil {
		parts = []string{"ours " + ProposalText(own) + ", theirs " + ProposalText(theirs)}
	}
	return strings.Join(parts, "; ")
}

// Wishes writes the selectors of the children of p for a sentence.
func (p *Peer) Wishes() string {
	out := ""
	for i, c := range p.Children {
		if i > 0 {
			out += ", "
		}
		if i == 4 {
			return out + "…"
		}
		out += fmt.Sprintf("%s here and %s there", ListText(c.Local), ListText(c.Remote))
	}
	return out
}

// WithoutKE returns the proposals without key exchange groups, for a Child SA without
// a KE payload.
func WithoutKE(ps []ipsec.Proposal) []ipsec.Proposal {
	out := make([]ipsec.Proposal, len(ps))
	for i, p := range ps {
		out[i].Transforms = slices.DeleteFunc(slices.Clone(p.Transforms), func(t ipsec.Transform) bool { return t.Type == ipsec.KE })
	}
	return out
}
