package numbered

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// What one end sends the other counts; what is missing below the highest number, and what was sent behind it, is lost.
func TestLostIsWhatDidNotCome(t *testing.T) {
	t.Parallel()
	if lost := Lost(Report{Sent: 12}, Report{Missing: []int{2, 3, 7}, Next: 10}); !slices.Equal(lost, []int{2, 3, 7, 10, 11}) || Ranges(lost) != "2-3 7 10-11" {
		t.Errorf("lost %v, %s", lost, Ranges(lost))
	}
	here := netip.MustParseAddr("127.0.0.1")
	one, err := Open(netip.AddrPortFrom(here, 0), netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	other, err := Open(netip.AddrPortFrom(here, 0), netip.MustParseAddrPort(one.conn.LocalAddr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Start(1000)
	for one.Report().Received < 20 {
		time.Sleep(time.Millisecond)
	}
	other.Halt()
	for one.Report().Received < other.Sent() {
		time.Sleep(time.Millisecond)
	}
	if lost := Lost(other.Report(), one.Report()); len(lost) > 0 || one.Report().Duplicated > 0 {
		t.Errorf("lost %v of %d, %d twice", lost, other.Sent(), one.Report().Duplicated)
	}
}
