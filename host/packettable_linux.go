package host

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ownTable is our mark on the table.
const ownTable = "vpngw_cleartext"

// nftTable is a packetTable of nftables. Each length of a prefix has a set, of the prefixes to drop or
// to pass, and the chain of each family looks a source up from the longest to the shortest:
//
//	chain prerouting { ip saddr @pass_ipv4_32 accept; iif lo accept; iifgroup 7373 iiftype none accept; jump to the chain of the family }
//	chain ipv4 { ip saddr & 255.255.255.0 @drop_ipv4_24 counter drop; … }
//
// The peers' addresses come first, since each packet of ESP has one. So prefixes may lie within others, which the intervals of one set may not, and a change concerns its
// own elements. A packet costs a lookup for each length in use.
//
// Prerouting only: a chain for packets that this host sends would end frame paths (plain).
type nftTable struct {
	conn   *nftables.Conn
	socket *mdlayher.Conn  // of conn
	raw    syscall.RawConn // of socket
	port   uint32
	table  *nftables.Table
	sets   map[setKey]*nftables.Set // that the table has
}

// setKey identifies a set.
type setKey struct {
	family, bits int
	verdict
}

// families are the parts of the table for IPv4 and IPv6.
var families = [2]struct {
	chain          string
	proto          byte
	source, length uint32 // where a packet has its source address
	key            nftables.SetDatatype
}{
	{"ipv4", unix.NFPROTO_IPV4, 12, net.IPv4len, nftables.TypeIPAddr},
	{"ipv6", unix.NFPROTO_IPV6, 8, net.IPv6len, nftables.TypeIP6Addr},
}

var counter = nftables.NamedObj{Name: "discarded", Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}}

// openTable opens a socket to nftables in its caller's network namespace.
func openTable() (*nftTable, error) {
	t := &nftTable{table: &nftables.Table{Name: ownTable, Family: nftables.TableFamilyINet}}
	var err error
	t.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *mdlayher.Conn) error {
		t.socket = c
		const longest = 8 << 20 // bytes of one transaction
		if err := c.SetWriteBuffer(longest); err != nil {
			return err
		}
		var err error
		if t.raw, err = c.SyscallConn(); err != nil {
			return err
		}
		cerr := t.raw.Control(func(fd uintptr) { t.port, err = portOf(fd) })
		return errors.Join(cerr, err)
	}))
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *nftTable) Close() error { return t.conn.CloseLasting() }

// mine compares the address of the socket that caused an event with that of ours.
func (t *nftTable) mine(m syscall.NetlinkMessage) bool { return m.Header.Pid == t.port }

// commit sends what is buffered as one transaction. Its error is the kernel's first.
func (t *nftTable) commit() error {
	t.limit()
	err := t.conn.Flush()
	if err == nil {
		return nil
	}
	t.drain()
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// limit bounds the wait for answers. The kernel queues each before the call that sends returns, so
// nothing should wait, but a kernel that lacks a part of nftables leaves out some.
func (t *nftTable) limit() { t.socket.SetReadDeadline(time.Now().Add(5 * time.Second)) }

// drain drops the answers that are left after an error: they would be taken for those of the next
// transaction.
func (t *nftTable) drain() {
	t.raw.Control(func(fd uintptr) {
		b := make([]byte, 1)
		for {
			if _, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
				return
			}
		}
	})
}

func (t *nftTable) remove() error {
	t.conn.DelTable(t.table)
	return t.commit()
}

func (t *nftTable) replace(all []element) error {
	t.conn.AddTable(t.table) // so that there is one to delete
	t.conn.DelTable(t.table)
	t.conn.AddTable(t.table)
	c := counter
	c.Table = t.table
	t.conn.AddObj(&c)
	t.sets = make(map[setKey]*nftables.Set)
	base := t.conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: t.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	for i := range families {
		k := passing(i)
		if err := t.set(k); err != nil {
			return err
		}
		t.rule(base, is(expr.MetaKeyNFPROTO, []byte{families[i].proto}), t.source(k), []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}})
	}
	const loopback, typeNone = 1, 0xfffe // the index of lo; ARPHRD_NONE, of a TUN
	accept := &expr.Verdict{Kind: expr.VerdictAccept}
	t.rule(base, is(expr.MetaKeyIIF, binaryutil.NativeEndian.PutUint32(loopback)), []expr.Any{accept})
	t.rule(base, is(expr.MetaKeyIIFGROUP, binaryutil.NativeEndian.PutUint32(Group)), is(expr.MetaKeyIIFTYPE, binaryutil.NativeEndian.PutUint16(typeNone)), []expr.Any{accept})
	for _, f := range families {
		t.conn.AddChain(&nftables.Chain{Name: f.chain, Table: t.table})
		t.rule(base, is(expr.MetaKeyNFPROTO, []byte{f.proto}), []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: f.chain}})
	}
	slices.SortFunc(all, func(a, b element) int { // pass before drop
		return cmp.Or(cmp.Compare(a.verdict, b.verdict), a.prefix.Compare(b.prefix))
	})
	return t.change(nil, all)
}

func (t *nftTable) change(remove, add []element) error {
	var grown [len(families)]bool
	for _, e := range add {
		k := e.set()
		if t.sets[k] == nil {
			if err := t.set(k); err != nil {
				return err
			}
			grown[k.family] = true
		}
	}
	for i, g := range grown {
		if g {
			t.chain(i)
		}
	}
	if err := t.elements(remove, t.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := t.elements(add, t.conn.SetAddElements); err != nil {
		return err
	}
	return t.commit()
}

// elements buffers changes of elements. A long list is sent as several transactions.
func (t *nftTable) elements(list []element, do func(*nftables.Set, []nftables.SetElement) error) error {
	const perMessage, perTransaction = 1000, 50_000 // a list in a message has at most 64 KiB
	bySet := make(map[setKey][]nftables.SetElement)
	buffered := 0
	for _, e := range list {
		k := e.set()
		bySet[k] = append(bySet[k], nftables.SetElement{Key: e.prefix.Addr().AsSlice()})
		if len(bySet[k]) == perMessage {
			if err := do(t.sets[k], bySet[k]); err != nil {
				return err
			}
			delete(bySet, k)
		}
		if buffered++; buffered%perTransaction == 0 {
			if err := t.commit(); err != nil {
				return err
			}
		}
	}
	for k, elements := range bySet {
		if err := do(t.sets[k], elements); err != nil {
			return err
		}
	}
	return nil
}

// chain writes the rules of a family again, the longest prefixes first.
func (t *nftTable) chain(i int) {
	c := &nftables.Chain{Name: families[i].chain, Table: t.table}
	t.conn.FlushChain(c)
	keys := slices.Collect(maps.Keys(t.sets))
	slices.SortFunc(keys, func(a, b setKey) int { return b.bits - a.bits })
	for _, k := range keys {
		switch {
		case k.family != i || k == passing(i):
		case k.verdict == passed:
			t.rule(c, t.source(k), []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}})
		default:
			t.rule(c, t.source(k), []expr.Any{&expr.Objref{Type: int(counter.Type), Name: counter.Name}, &expr.Verdict{Kind: expr.VerdictDrop}})
		}
	}
}

// passing is the set of a family that has the addresses of the peers, and of others to pass.
func passing(family int) setKey { return setKey{family, int(families[family].length) * 8, passed} }

// set buffers a set.
func (t *nftTable) set(k setKey) error {
	t.sets[k] = &nftables.Set{Table: t.table, Name: k.String(), KeyType: families[k.family].key, KeyByteOrder: binaryutil.BigEndian}
	return t.conn.AddSet(t.sets[k], nil)
}

// source looks a packet's source up in a set.
func (t *nftTable) source(k setKey) []expr.Any {
	f := families[k.family]
	match := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.source, Len: f.length}}
	if k.bits < int(f.length)*8 {
		match = append(match, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: f.length,
			Mask: net.CIDRMask(k.bits, int(f.length)*8), Xor: make([]byte, f.length),
		})
	}
	return append(match, &expr.Lookup{SourceRegister: 1, SetName: t.sets[k].Name, SetID: t.sets[k].ID})
}

// rule buffers a rule of a chain.
func (t *nftTable) rule(c *nftables.Chain, parts ...[]expr.Any) {
	t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: c, Exprs: slices.Concat(parts...)})
}

// is compares a property of a packet with a value.
func is(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func (t *nftTable) discarded() (uint64, error) {
	c := counter
	c.Table = t.table
	t.limit()
	o, err := t.conn.GetObject(&c)
	if err != nil {
		t.drain()
		return 0, err
	}
	if o, ok := o.(*nftables.NamedObj); ok {
		if n, ok := o.Obj.(*expr.Counter); ok {
			return n.Packets, nil
		}
	}
	return 0, errors.New("it is no counter")
}

func (e element) set() setKey { return setKey{family(e.prefix.Addr()), e.prefix.Bits(), e.verdict} }

func (k setKey) String() string {
	return fmt.Sprintf("%s_%s_%d", map[verdict]string{passed: "pass", dropped: "drop"}[k.verdict], families[k.family].chain, k.bits)
}

// portOf returns the address of a netlink socket, which the kernel's events name as their cause.
func portOf(fd uintptr) (uint32, error) {
	name, err := unix.Getsockname(int(fd))
	if n, ok := name.(*unix.SockaddrNetlink); ok {
		return n.Pid, err
	}
	return 0, err
}
