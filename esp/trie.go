package esp

import "math/bits"

// A trie has values by prefix, for the search of all prefixes that contain an address, the longest first. Each node
// has a value or two children. A trie is immutable: edit returns another one, which shares all nodes but
// the few above the change. nil is the empty trie.
type trie[V any] struct {
	prefix
	value *V          // nil: the node only branches
	child [2]*trie[V] // by the bit behind the prefix
}

// prefix is the first bits of an address as key has it.
type prefix struct {
	at   addr
	bits int
}

// key is an address with its first bit in the highest place, in either family.
func (a addr) key(v6 bool) addr {
	if v6 {
		return a
	}
	return addr{hi: a.lo << 32}
}

// bit is bit i of a key, the first being 0.
func (a addr) bit(i int) int {
	if i < 64 {
		return int(a.hi >> (63 - i) & 1)
	}
	return int(a.lo >> (127 - i) & 1)
}

// common is how many first bits a and b have in common.
func (a addr) common(b addr) int {
	if d := a.hi ^ b.hi; d != 0 {
		return bits.LeadingZeros64(d)
	}
	return 64 + bits.LeadingZeros64(a.lo^b.lo)
}

// contains reports whether the key a lies in p.
func (p *prefix) contains(a addr) bool { return p.at.common(a) >= p.bits }

// next is the child on the way to the key a, which lies in t's prefix.
func (t *trie[V]) next(a addr) *trie[V] {
	if t.bits == 128 {
		return nil
	}
	return t.child[a.bit(t.bits)]
}

// edit returns t with f's answer to the value of p; nil means that there is none.
func (t *trie[V]) edit(p prefix, f func(*V) *V) *trie[V] {
	if t == nil {
		return (&trie[V]{prefix: p, value: f(nil)}).pruned()
	}
	n := min(t.at.common(p.at), t.bits, p.bits)
	if n == t.bits {
		c := *t
		if n == p.bits {
			c.value = f(c.value)
		} else {
			b := p.at.bit(n)
			c.child[b] = c.child[b].edit(p, f)
		}
		return c.pruned()
	}
	v := f(nil)
	if v == nil {
		return t
	}
	above := &trie[V]{prefix: prefix{p.at, n}}
	above.child[t.at.bit(n)] = t
	if n == p.bits {
		above.value = v
	} else {
		above.child[p.at.bit(n)] = &trie[V]{prefix: p, value: v}
	}
	return above
}

// pruned is t, or what remains if t neither has a value nor branches.
func (t *trie[V]) pruned() *trie[V] {
	switch {
	case t.value != nil || t.child[0] != nil && t.child[1] != nil:
		return t
	case t.child[0] != nil:
		return t.child[0]
	}
	return t.child[1]
}
