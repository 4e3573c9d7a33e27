package esp

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vpngw/ipsec"
)

// A roamer is a peer behind a NAT, a, and the end that follows it, b.
type roamer struct {
	t    *testing.T
	a, b *end
	sb   *ipsec.ChildSA
}

func newRoamer(t *testing.T, k transport, f func(*ipsec.ChildSA)) *roamer {
	a, b, _, sb := ends(t, "aes128gcm16", k, func(sa *ipsec.ChildSA) {
		sa.Follow = true
		if f != nil {
			f(sa)
		}
	})
	return &roamer{t, a, b, sb}
}

// packet is a's next packet, as it comes from the address given.
func (r *roamer) packet(address string) []ipsec.Datagram {
	return from(address, r.a.out(udpPacket(false, 1, 2, 100)))
}

// wantRemote checks where b's next packet goes.
func (r *roamer) wantRemote(want string) {
	r.t.Helper()
	out := r.b.out(ipPacketOf(host(false, 2, 2), host(false, 1, 1), protoUDP, make([]byte, 30)))
	if len(out) != 1 || out[0].Remote != netip.MustParseAddrPort(want) {
		r.t.Errorf("b sends to %+v, want %s", out, want)
	}
}

// wantMoves checks the events of b's control plane after a time.
func (r *roamer) wantMoves(after time.Duration, want ...string) (next time.Time) {
	r.t.Helper()
	got, next := r.b.plane.Moves(r.b.now.Add(after))
	var remotes []string
	for _, m := range got {
		if m.SPIIn != r.sb.SPIIn {
			r.t.Errorf("told of SPI %08x", m.SPIIn)
		}
		remotes = append(remotes, m.Remote.String())
	}
	if !reflect.DeepEqual(remotes, want) {
		r.t.Errorf("after %v told %v, want %v", after, remotes, want)
	}
	return next
}

// move is the control plane's.
func (r *roamer) move(remote string) {
	path := r.sb.Path
	path.Remote = netip.MustParseAddrPort(remote)
	r.b.plane.Move(r.sb.SPIIn, path)
}

const (
	placeA = "192.0.2.1:4500" // where the SA begins
	placeB = "198.51.100.7:1024"
	placeC = "198.51.100.7:1025"
	placeD = "203.0.113.9:4500"
)

// The peer moves several times within 10 ms. Each move is followed, and the control plane hears of the
// last.
func TestEachMoveIsFollowedAtOnceAndTheLastIsTold(t *testing.T) {
	r := newRoamer(t, udp4, nil)
	r.b.in(udp4, r.packet(placeA)...)
	r.b.told()
	r.b.in(udp4, r.packet(placeB)...)
	r.wantRemote(placeB)
	r.wantMoves(0, placeB)

	r.b.now = r.b.now.Add(10 * time.Millisecond)
	r.b.in(udp4, append(r.packet(placeC), r.packet(placeD)...)...) // in one batch
	r.wantRemote(placeD)
	r.b.in(udp4, r.packet("[::ffff:198.51.100.7]:1025")...)
	r.wantRemote(placeC)
	next := r.wantMoves(0)
	if want := r.b.now.Add(90 * time.Millisecond); !next.Equal(want) {
		t.Errorf("to be asked at %v, want %v", next, want)
	}
	r.wantMoves(89 * time.Millisecond)
	r.wantMoves(90*time.Millisecond, placeC) // although no packet has come since
	if next := r.wantMoves(time.Second); !next.IsZero() {
		t.Errorf("to be asked again at %v", next)
	}
	if got := r.b.told(); !reflect.DeepEqual(got, []Event{PeersMoved{}, PeersMoved{}}) {
		t.Errorf("told %+v", got) // once for each time that something was waiting
	}
}

// A queue that is full when the peer moves does not lose the move.
func TestAMoveIsToldThoughItsEventWasRefused(t *testing.T) {
	r := newRoamer(t, udp4, nil)
	r.b.deaf = true
	r.b.in(udp4, r.packet(placeB)...)
	r.wantMoves(0, placeB)
	r.b.in(udp4, r.packet(placeC)...)
	r.wantMoves(moveInterval, placeC)
}

// However often the peer moves, the control plane hears of it ten times a second.
func TestMovesAreToldAtALimitedRate(t *testing.T) {
	r := newRoamer(t, udp4, nil)
	told, last := 0, ""
	for i := range 1000 {
		last = fmt.Sprintf("198.51.100.7:%d", 1024+i)
		r.b.in(udp4, r.packet(last)...)
		moved, _ := r.b.plane.Moves(r.b.now)
		told += len(moved)
		r.b.now = r.b.now.Add(time.Millisecond)
	}
	if told != 10 || len(r.b.told()) > 1+told+1 {
		t.Errorf("told %d times within a second", told)
	}
	r.wantRemote(last)
	r.wantMoves(moveInterval, last)
}

func TestOnlyTheNewestPacketMoves(t *testing.T) {
	r := newRoamer(t, udp4, nil)
	old, late := r.packet(placeA), r.packet(placeB)
	newest := r.packet(placeA)
	r.b.in(udp4, old...)
	r.b.in(udp4, newest...)
	r.b.in(udp4, late...) // within the window
	r.b.in(udp4, from(placeD, old)...)
	r.b.in(udp4, from(placeD, newest)...)
	wantDrops(t, r.b, r.sb.SPIIn, map[string]uint64{"replay": 2})
	r.wantRemote(placeA)
	r.wantMoves(0)

	r.b.in(udp4, r.packet(placeB)...)
	r.b.in(udp4, from(placeA, newest)...) // does not undo it
	r.wantRemote(placeB)
}

func TestSAsThatDoNotFollowStay(t *testing.T) {
	for name, tt := range map[string]struct {
		k    transport
		f    func(*ipsec.ChildSA)
		from string
	}{
		"the end is behind a NAT itself": {udp4, func(sa *ipsec.ChildSA) { sa.Follow = false }, placeB},
		"without UDP":                    {raw4, nil, "198.51.100.7:0"},
		"another family":                 {udp4, nil, "[2001:db8::7]:4500"},
	} {
		r := newRoamer(t, tt.k, tt.f)
		r.b.in(tt.k, r.packet(tt.from)...)
		r.wantMoves(0)
		if to := r.b.tunnel.spd.Load().outs[0].route.Load().Remote; to.String() != endAddrs[0][tt.k] {
			t.Errorf("%s: sends to %v", name, to)
		}
	}
	// A packet may come by the other kind of socket, and says nothing about the path.
	r := newRoamer(t, udp4, nil)
	r.b.in(raw4, r.packet("198.51.100.7:0")...)
	r.wantRemote(placeA)
	r.wantMoves(0)
	r = newRoamer(t, raw4, nil)
	r.b.in(udp4, r.packet(placeB)...)
	r.wantRemote(endAddrs[0][raw4])
	r.wantMoves(0)
}

// A new IKE SA may find another NAT than the one that negotiated the Child SA.
func TestFollowCanChange(t *testing.T) {
	r := newRoamer(t, udp4, func(sa *ipsec.ChildSA) { sa.Follow = false })
	r.b.plane.Follow(r.sb.SPIIn, true)
	r.b.in(udp4, r.packet(placeB)...)
	r.wantRemote(placeB)
	r.b.plane.Follow(r.sb.SPIIn, false)
	r.b.in(udp4, r.packet(placeC)...)
	r.wantRemote(placeB)
	r.b.plane.Follow(0x1234567, true) // unknown
	// Without UDP there is nothing to follow, with it there is again.
	r.b.plane.Follow(r.sb.SPIIn, true)
	path := r.sb.Path
	path.UDP = false
	r.b.plane.Move(r.sb.SPIIn, path)
	r.b.plane.Move(r.sb.SPIIn, r.sb.Path)
	r.b.in(udp4, r.packet(placeC)...)
	r.wantRemote(placeC)
}

// A move by the control plane is older than a move of which it has not heard.
func TestAMoveUndoesNoNewerOne(t *testing.T) {
	r := newRoamer(t, udp4, nil)
	r.b.in(udp4, r.packet(placeB)...)
	r.wantMoves(0, placeB)
	r.b.in(udp4, r.packet(placeC)...)
	r.move(placeB) // the answer to the first
	r.wantRemote(placeC)
	r.wantMoves(moveInterval, placeC)

	r.move(placeD) // now it knows, and an IKE message came from there
	r.wantRemote(placeD)

	r.b.now = r.b.now.Add(time.Second)
	r.b.in(udp4, r.packet(placeB)...)
	r.move(placeB) // it has found out by itself
	r.wantMoves(moveInterval)
	r.move(placeC)
	r.wantRemote(placeC)

	// An SA that does not follow any more, or not by UDP, goes where it is told.
	r.b.in(udp4, r.packet(placeB)...)
	r.b.plane.Follow(r.sb.SPIIn, false)
	r.move(placeD)
	r.wantRemote(placeD)
	r.wantMoves(time.Hour)
}

// The peer moves with every batch, while the control plane asks for moves and moves the SA to the
// addresses that it hears. In the end both know the last address.
func TestMovesWhileTheControlPlaneMoves(t *testing.T) {
	r := newRoamer(t, udp4, nil)
	var batches [][]ipsec.Datagram
	for i := range 500 {
		batches = append(batches, r.packet(fmt.Sprintf("198.51.100.7:%d", 1024+i)))
	}
	var done atomic.Bool
	var control sync.WaitGroup
	said, now := "", r.b.now
	control.Go(func() {
		for ending := false; ; {
			now = now.Add(time.Second)
			moved, _ := r.b.plane.Moves(now)
			for _, m := range moved {
				said = m.Remote.String()
				time.Sleep(time.Microsecond)
				r.move(said)
			}
			if ending {
				return
			}
			ending = done.Load()
		}
	})
	for _, ds := range batches {
		r.b.in(udp4, ds...)
	}
	done.Store(true)
	control.Wait()
	last := fmt.Sprintf("198.51.100.7:%d", 1024+len(batches)-1)
	if said != last {
		t.Errorf("the last move that was told is to %s, want %s", said, last)
	}
	r.wantRemote(last)
}
