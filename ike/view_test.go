package ike

import (
	"slices"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// peerView is a PeerStatus as an operator reads it.
type peerView struct {
	Name     string
	IKE      *ikeView
	Children []childView
	Why      string
}

type ikeView struct {
	IKEStatus
	State, NAT, Proposal string
	Weak                 []string
}

// childView is a ChildStatus with its coverage. The product decides coverage in package tunnel.
type childView struct {
	ChildStatus
	Up     bool           // every pair of selectors is carried both ways
	Partly bool           // some are
	SA     *ipsec.ChildSA // the newest that carries both ways
	Why    string
}

// peer is the n-th one.
func (n *end) peer(i int) *peer { return n.inOrder()[i] }

// view is the Status of an end.
func (n *end) view() []peerView {
	var out []peerView
	for i, st := range n.Status() {
		v := peerView{Name: st.Name, Why: st.Why.String()}
		if st.IKE != nil {
			v.IKE = &ikeView{*st.IKE, st.IKE.State.String(), st.IKE.NAT.String(), st.IKE.Proposal(), st.IKE.Weak()}
		}
		for k, c := range st.Children {
			v.Children = append(v.Children, coverage(n.peer(i).children[k], c))
		}
		out = append(out, v)
	}
	return out
}

func coverage(c *child, st ChildStatus) childView {
	v := childView{ChildStatus: st, Why: st.Why.String()}
	for _, in := range st.SAs {
		if in.Out {
			v.SA = in.SA
		}
	}
	if v.SA == nil {
		return v
	}
	open := c.uncovered()
	v.Up, v.Partly = len(open) == 0, len(open) > 0
	if v.Partly && v.Why == "" {
		why := diag.Cause{Code: diag.Uncovered, Ours: open[0].String()}
		if len(c.missing()) == 0 {
			why.Code = diag.Narrowed
		}
		v.Why = why.String()
	}
	return v
}

func (p selectorPair) String() string {
	return p.local.String() + " here and " + p.remote.String() + " there"
}

// uncovered are the pairs of selectors that are not carried whole in both directions.
func (c *child) uncovered() []selectorPair {
	have := c.sas()
	return slices.DeleteFunc(selectorPairs(c.cfg), func(p selectorPair) bool {
		return slices.ContainsFunc(have, func(in sa.ChildInfo) bool {
			return in.Out && ipsec.Covers(in.SA.Local, []ipsec.Selector{p.local}) && ipsec.Covers(in.SA.Remote, []ipsec.Selector{p.remote})
		})
	})
}
