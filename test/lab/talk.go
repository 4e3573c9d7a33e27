package lab

import (
	"net/netip"

	"vpngw/test/lab/numbered"
)

// Talk opens one end of a flow in the namespace.
func (n *Namespace) Talk(local, remote string) Talker {
	n.lab.Helper()
	var end *numbered.End
	var err error
	n.Do(func() { end, err = numbered.Open(netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)) })
	if err != nil {
		n.lab.Fatalf("%s: %v", n.role, err)
	}
	n.lab.onClose(end.Close)
	return hereTalker{end}
}

// hereTalker is an end in this process.
type hereTalker struct{ *numbered.End }

func (t hereTalker) Close() numbered.Report {
	t.End.Close()
	return t.Report()
}
