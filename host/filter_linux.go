package host

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// passageVerdict is what the packet filter does with a passage.
type passageVerdict uint8

const (
	passes  passageVerdict = iota
	drops                  // for sure
	unclear                // drops, unless a rule lets it pass that cannot be read here
)

// hooks are the hooks of nftables that a passage meets, in order.
var hooks = map[Hook][]nftables.ChainHook{
	HookInput:   {*nftables.ChainHookPrerouting, *nftables.ChainHookInput},
	HookOutput:  {*nftables.ChainHookOutput, *nftables.ChainHookPostrouting},
	HookForward: {*nftables.ChainHookForward},
}

// packetFilter is nftables at the time of one examination, as far as it was read. iptables writes such rules today. The zero
// packetFilter lets everything pass.
type packetFilter struct {
	conn   *nftables.Conn
	chains []*nftables.Chain
	base   []*nftables.Chain // the chains at hooks, in the order in which the kernel asks them
	nat    []*nftables.Chain // those of NAT after routing, likewise
	rules  map[*nftables.Chain]readRules
	sets   map[setName]readSet
}

type setName struct {
	family      nftables.TableFamily
	table, name string
}

type readRules struct {
	rules []*nftables.Rule
	err   error
}

type readSet struct {
	*nftables.Set
	elements []nftables.SetElement
	err      error
}

// readFilter opens nftables. A kernel without nftables filters nothing by them.
func readFilter() *packetFilter {
	f := &packetFilter{rules: map[*nftables.Chain]readRules{}, sets: map[setName]readSet{}}
	var err error
	if f.conn, err = nftables.New(nftables.AsLasting()); err != nil {
		return f
	}
	if f.chains, err = f.conn.ListChains(); err != nil {
		return f
	}
	f.base = slices.DeleteFunc(slices.Clone(f.chains), func(c *nftables.Chain) bool {
		return c.Hooknum == nil || c.Priority == nil || c.Type == nftables.ChainTypeNAT || c.Table.Name == ownTable
	})
	f.nat = slices.DeleteFunc(slices.Clone(f.chains), func(c *nftables.Chain) bool {
		return c.Hooknum == nil || c.Priority == nil || c.Type != nftables.ChainTypeNAT || *c.Hooknum != *nftables.ChainHookPostrouting
	})
	for _, chains := range [][]*nftables.Chain{f.base, f.nat} {
		slices.SortStableFunc(chains, func(a, b *nftables.Chain) int { return cmp.Compare(*a.Priority, *b.Priority) })
	}
	return f
}

func (f *packetFilter) Close() {
	if f.conn != nil {
		f.conn.CloseLasting()
	}
}

func (f *packetFilter) rulesOf(ch *nftables.Chain) ([]*nftables.Rule, error) {
	r, ok := f.rules[ch]
	if !ok {
		r.rules, r.err = f.conn.GetRules(ch.Table, ch)
		f.rules[ch] = r
	}
	return r.rules, r.err
}

func (f *packetFilter) set(t *nftables.Table, name string) readSet {
	key := setName{t.Family, t.Name, name}
	s, ok := f.sets[key]
	if !ok {
		if s.Set, s.err = f.conn.GetSetByName(t, name); s.err == nil {
			s.elements, s.err = f.conn.GetSetElements(s.Set)
		}
		f.sets[key] = s
	}
	return s
}

// judge asks rule by rule what becomes of a passage.
func (f *packetFilter) judge(p Passage) (by *nftables.Chain, v passageVerdict) {
	r := filterReader{packetFilter: f, header: p.header(), passage: p}
	for _, hook := range hooks[p.Hook] {
		for _, ch := range f.base {
			if *ch.Hooknum != hook || !p.concerns(ch.Table.Family) {
				continue
			}
			r.doubt = false
			kind := r.run(ch, 0)
			if kind == fellThrough && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
				kind = expr.VerdictDrop
			}
			if kind == expr.VerdictDrop {
				v = drops
				if r.doubt {
					v = unclear
				}
				return ch, v
			}
		}
	}
	return nil, passes
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}

// concerns reports whether tables of the family see the passage.
func (p Passage) concerns(f nftables.TableFamily) bool {
	switch f {
	case nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv4:
		return p.From.Addr().Is4()
	case nftables.TableFamilyIPv6:
		return p.From.Addr().Is6()
	}
	return false
}

// headers are the first bytes of the packet's network and transport headers.
type headers struct{ network, transport []byte }

func (p Passage) header() headers {
	from, to := p.From.Addr().AsSlice(), p.To.Addr().AsSlice()
	var h headers
	if p.From.Addr().Is4() {
		h.network = append([]byte{0x45, 0, 0, 200, 0, 0, 0, 0, 64, p.Proto, 0, 0}, append(from, to...)...)
	} else {
		h.network = append([]byte{0x60, 0, 0, 0, 0, 200, p.Proto, 64}, append(from, to...)...)
	}
	if p.From.Port() != 0 {
		h.transport = binary.BigEndian.AppendUint16(h.transport, p.From.Port())
		h.transport = binary.BigEndian.AppendUint16(h.transport, p.To.Port())
	}
	return h
}

// filterReader reads the rules of chains for one passage.
type filterReader struct {
	*packetFilter
	header  headers
	passage Passage
	doubt   bool // a rule that cannot be read may have let the packet pass
}

// fellThrough is the verdict of a chain without one.
const fellThrough = expr.VerdictContinue

// translated is the verdict of a chain of NAT that changes the source.
const translated expr.VerdictKind = 1000

// deepest bounds jumps, as the kernel does.
const deepest = 16

// run returns the verdict of a chain.
func (f *filterReader) run(ch *nftables.Chain, depth int) expr.VerdictKind {
	rules, err := f.rulesOf(ch)
	if err != nil || depth > deepest {
		f.doubt = true
		return fellThrough
	}
	for _, r := range rules {
		kind, sure := f.rule(ch, r, depth)
		switch {
		case kind == fellThrough || kind == expr.VerdictBreak:
		case !sure:
			f.doubt = f.doubt || kind == expr.VerdictAccept || kind == expr.VerdictReturn
		case kind == expr.VerdictReturn:
			return fellThrough
		default:
			return kind
		}
	}
	return fellThrough
}

// registers are the contents of registers; nil: unknown.
type registers map[uint32][]byte

// rule returns the verdict of a rule, and whether it is sure that the rule matches.
func (f *filterReader) rule(ch *nftables.Chain, r *nftables.Rule, depth int) (kind expr.VerdictKind, sure bool) {
	regs := registers{}
	sure = true
	for _, e := range r.Exprs {
		match := yes
		switch e := e.(type) {
		case *expr.Counter, *expr.Log, *expr.Objref, *expr.Notrack:
		case *expr.Meta:
			if !e.SourceRegister {
				regs[e.Register] = f.meta(e.Key)
			}
		case *expr.Immediate:
			regs[e.Register] = e.Data
		case *expr.Payload:
			regs[e.DestRegister] = f.payload(e)
		case *expr.Ct:
			regs[e.Register] = f.conntrack(e)
		case *expr.Bitwise:
			regs[e.DestRegister] = masked(regs[e.SourceRegister], e)
		case *expr.Cmp:
			match = compared(regs[e.Register], e.Op, e.Data)
		case *expr.Range:
			match = within(regs[e.Register], e)
		case *expr.Lookup:
			match = f.lookup(ch, regs[e.SourceRegister], e)
		case *expr.Match:
			match = f.xtables(e)
		case *expr.Masq:
			return translated, sure
		case *expr.NAT:
			if e.Type == expr.NATTypeSourceNAT {
				return translated, sure
			}
			match = maybe
		case *expr.Reject:
			return expr.VerdictDrop, sure
		case *expr.Target:
			switch e.Name {
			case "REJECT", "DROP":
				return expr.VerdictDrop, sure
			case "MASQUERADE", "SNAT":
				return translated, sure
			case "LOG":
			default:
				match = maybe
			}
		case *expr.Verdict:
			return f.verdict(ch, e, depth, sure)
		default:
			match = maybe
		}
		if match == no {
			return fellThrough, true
		}
		sure = sure && match == yes
	}
	return fellThrough, true
}

// verdict follows jumps.
func (f *filterReader) verdict(ch *nftables.Chain, v *expr.Verdict, depth int, sure bool) (expr.VerdictKind, bool) {
	if v.Kind != expr.VerdictJump && v.Kind != expr.VerdictGoto {
		return v.Kind, sure
	}
	for _, to := range f.chains {
		if to.Name == v.Chain && to.Table.Name == ch.Table.Name && to.Table.Family == ch.Table.Family {
			kind := f.run(to, depth+1)
			if v.Kind == expr.VerdictGoto && kind == fellThrough { // it does not come back to this chain
				kind = expr.VerdictReturn
			}
			return kind, sure
		}
	}
	return fellThrough, sure
}

func (f *filterReader) meta(key expr.MetaKey) []byte {
	device := func(name string) []byte {
		if name == "" {
			return nil
		}
		return append([]byte(name), make([]byte, max(unix.IFNAMSIZ-len(name), 0))...)
	}
	switch key {
	case expr.MetaKeyL4PROTO:
		return []byte{f.passage.Proto}
	case expr.MetaKeyNFPROTO:
		if f.passage.From.Addr().Is4() {
			return []byte{unix.NFPROTO_IPV4}
		}
		return []byte{unix.NFPROTO_IPV6}
	case expr.MetaKeyIIFNAME:
		return device(f.passage.In)
	case expr.MetaKeyOIFNAME:
		return device(f.passage.Out)
	case expr.MetaKeyMARK:
		if f.passage.Hook == HookOutput {
			return binary.NativeEndian.AppendUint32(nil, Mark)
		}
		return make([]byte, 4)
	}
	return nil
}

func (f *filterReader) payload(e *expr.Payload) []byte {
	from := f.header.network
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		// Only the protocol and the addresses are known.
		proto, addresses := uint32(9), uint32(12)
		if f.passage.From.Addr().Is6() {
			proto, addresses = 6, 8
		}
		if e.Offset < addresses && (e.Offset != proto || e.Len != 1) {
			return nil
		}
	case expr.PayloadBaseTransportHeader:
		from = f.header.transport
	default:
		return nil
	}
	if int(e.Offset)+int(e.Len) > len(from) {
		return nil
	}
	return from[e.Offset:][:e.Len]
}

// conntrack knows the state only: established or new.
func (f *filterReader) conntrack(e *expr.Ct) []byte {
	if e.Key != expr.CtKeySTATE {
		return nil
	}
	state := uint32(expr.CtStateBitNEW)
	if f.passage.Answer {
		state = expr.CtStateBitESTABLISHED
	}
	return binary.NativeEndian.AppendUint32(nil, state)
}

func masked(b []byte, e *expr.Bitwise) []byte {
	if len(b) != int(e.Len) || len(e.Mask) != len(b) || len(e.Xor) != len(b) {
		return nil
	}
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

// trilean is whether an expression matches.
type trilean uint8

const (
	no trilean = iota
	yes
	maybe
)

func ifTrue(b bool) trilean {
	if b {
		return yes
	}
	return no
}

func compared(b []byte, op expr.CmpOp, with []byte) trilean {
	if len(b) < len(with) {
		return maybe
	}
	c := bytes.Compare(b[:len(with)], with) // a device's name may be compared by its beginning
	switch op {
	case expr.CmpOpEq:
		return ifTrue(c == 0)
	case expr.CmpOpNeq:
		return ifTrue(c != 0)
	case expr.CmpOpLt:
		return ifTrue(c < 0)
	case expr.CmpOpLte:
		return ifTrue(c <= 0)
	case expr.CmpOpGt:
		return ifTrue(c > 0)
	case expr.CmpOpGte:
		return ifTrue(c >= 0)
	}
	return maybe
}

func within(b []byte, e *expr.Range) trilean {
	if b == nil || len(b) != len(e.FromData) || len(b) != len(e.ToData) {
		return maybe
	}
	in := bytes.Compare(b, e.FromData) >= 0 && bytes.Compare(b, e.ToData) <= 0
	return ifTrue(in == (e.Op == expr.CmpOpEq))
}

// lookup looks a register up in a set.
func (f *filterReader) lookup(ch *nftables.Chain, key []byte, e *expr.Lookup) trilean {
	set := f.set(ch.Table, e.SetName)
	if set.Set != nil && set.IsMap { // perhaps of verdicts, which cannot be read
		f.doubt = true
	}
	if set.err != nil || key == nil || set.Concatenation || set.IsMap {
		return maybe
	}
	all := set.elements
	// Of an interval the last start that is not above the key counts; an end has a mark.
	var hit *nftables.SetElement
	for i := range all {
		c := bytes.Compare(all[i].Key, key)
		if len(all[i].Key) != len(key) || c > 0 || !set.Interval && c != 0 {
			continue
		}
		if hit == nil || bytes.Compare(all[i].Key, hit.Key) > 0 || !all[i].IntervalEnd && bytes.Equal(all[i].Key, hit.Key) {
			hit = &all[i]
		}
	}
	found := hit != nil && !hit.IntervalEnd
	return ifTrue(found != e.Invert)
}

// xtables reads the matches of iptables that are likely here.
func (f *filterReader) xtables(e *expr.Match) trilean {
	switch info := e.Info.(type) {
	case *xt.Comment:
		return yes
	case *xt.Udp:
		if f.passage.Proto != unix.IPPROTO_UDP {
			return no
		}
		source := inPorts(f.passage.From.Port(), info.SrcPorts) != (info.InvFlags&xt.UdpInvSrcPorts != 0)
		return ifTrue(source && inPorts(f.passage.To.Port(), info.DstPorts) != (info.InvFlags&xt.UdpInvDestPorts != 0))
	case *xt.Tcp:
		return f.tcp(info)
	}
	return maybe
}

// tcp reads a match of TCP: every packet that is asked about, of either way, is of a connection that begins.
func (f *filterReader) tcp(info *xt.Tcp) trilean {
	if f.passage.Proto != unix.IPPROTO_TCP {
		return no
	}
	source := inPorts(f.passage.From.Port(), info.SrcPorts) != (info.InvFlags&xt.TcpInvSrcPorts != 0)
	if !source || inPorts(f.passage.To.Port(), info.DstPorts) == (info.InvFlags&xt.TcpInvDestPorts != 0) {
		return no
	}
	if info.Option != 0 || info.FlagsMask != 0 {
		return maybe
	}
	return yes
}

func inPorts(port uint16, r [2]uint16) bool { return port >= r[0] && port <= r[1] }
