package diag

// Kept is a Cause as things hold it that are many and live long: there is none mostly, and a Cause is large. The zero Kept is none.
type Kept struct {
	code Code
	full *Cause // nil: the code says all
}

// Keep makes a Kept of a Cause.
func Keep(c Cause) Kept {
	if c.Equal(Cause{Code: c.Code}) {
		return Kept{code: c.Code}
	}
	return Kept{c.Code, &c}
}

// Cause is what was kept.
func (k Kept) Cause() Cause {
	if k.full == nil {
		return Cause{Code: k.code}
	}
	return *k.full
}

// OK reports whether nothing is wrong.
func (k Kept) OK() bool { return k.code == "" }

// Is reports whether the Cause is of a code.
func (k Kept) Is(code Code) bool { return k.code == code }

// Equal reports whether the Cause says the same as another.
func (k Kept) Equal(c Cause) bool { return k.code == c.Code && k.Cause().Equal(c) }

func (k Kept) String() string { return k.Cause().String() }
