package esp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// TestCutIsWhatTheKernelAndWireguardCut gives each random super-packet to two real
// TUN devices, as a kernel hands it to a driver. We read frames from one and cut them;
// wireguard/tun cuts the frames of the other, or the kernel does if the device cannot
// take them. The packets must be the same.
func TestCutIsWhatTheKernelAndWireguardCut(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed for TUN devices")
		}
		t.Skip("root is needed for TUN devices")
	}
	// The thread, and its network namespace with it, ends with the test.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	var fds [2]int
	var index [2]int
	for i := range fds {
		fds[i], index[i] = openTUN(t, fmt.Sprintf("t%d", i))
	}
	general, _, err := tun.CreateUnmonitoredTUNFromFD(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	defer general.Close()
	defer unix.Close(fds[0])
	const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6
	if err := unix.IoctlSetInt(fds[0], unix.TUNSETOFFLOAD, offloads); err != nil {
		t.Skipf("this kernel has no USO: %v", err)
	}
	unix.SetNonblock(fds[0], true)
	link, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(link)
	if err := unix.SetsockoptInt(link, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		t.Fatal(err)
	}

	r := rand.New(rand.NewPCG(9, 10))
	buf := make([]byte, maxRead, maxRead+maxTrailer)
	bufs, sizes := slab(tunBatch, 2048), make([]int, tunBatch)
	var fl flow
	var c segmenter
	segments := 0
	for n := range *supers {
		frame := randomFrame(r, 1<<r.IntN(16))
		if h := parseVnet(frame); h.gso != gsoNone && int(h.segment)*(tunBatch-1) < len(frame) {
			continue // more segments than wireguard/tun takes at a time
		}
		protocol := uint16(unix.ETH_P_IP)
		if frame[vnetHeader]>>4 == 6 {
			protocol = unix.ETH_P_IPV6
		}
		for _, i := range index {
			to := &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: i}
			if err := unix.Sendto(link, frame, 0, to); err != nil {
				t.Fatalf("frame %d, %s: %v", n, brief(frame), err)
			}
		}
		var ours, theirs [][]byte
		for {
			k, err := unix.Read(fds[0], buf)
			if err == unix.EAGAIN {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			h, p := parseVnet(buf), buf[vnetHeader:k]
			switch {
			case h.gso == gsoNone:
				if !h.complete(p) {
					t.Fatal("a checksum that is outside")
				}
				ours = append(ours, bytes.Clone(p))
			case !fl.parse(p) || !c.begin(h, &fl, p):
				t.Fatalf("frame %d is no super-packet: %+v %s", n, h, brief(p))
			default:
				for c.remaining() > 0 {
					ours = append(ours, bytes.Clone(c.next()))
					c.done()
				}
			}
		}
		for len(theirs) < len(ours) {
			general.File().SetReadDeadline(time.Now().Add(time.Minute))
			k, err := general.Read(bufs, sizes, headroom)
			if err != nil {
				t.Fatalf("frame %d: %d of %d packets, and %v", n, len(theirs), len(ours), err)
			}
			for i := range k {
				theirs = append(theirs, bytes.Clone(bufs[i][headroom:headroom+sizes[i]]))
			}
		}
		for i := range theirs {
			mend(theirs[i])
		}
		if same(t, ours, theirs); t.Failed() {
			t.Fatalf("frame %d: %+v", n, parseVnet(frame))
		}
		segments += len(ours)
	}
	t.Logf("%d packets", segments)
}

// mend corrects two faults of wireguard/tun: it leaves the extension headers out of the length of an IPv6
// packet, and it sends a UDP checksum of zero, which means that there is none (RFC 768).
func mend(b []byte) {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Header))
	}
	var f flow
	if f.parse(b) && f.protocol == protoUDP && f.ports == twoPorts {
		if sum := b[f.transport+udpChecksum:]; sum[0]|sum[1] == 0 {
			binary.BigEndian.PutUint16(sum, 0xffff)
		}
	}
}

func openTUN(t *testing.T, name string) (fd, index int) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Fatal(err)
	}
	// Nothing of the kernel's own may come in between.
	os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644)
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, l.Attrs().Index
}
