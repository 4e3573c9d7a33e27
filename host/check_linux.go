package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"vpngw/diag"
)

// Check looks for obstacles on this host. The sentence of a finding is one line and names the
// remedy. Check reports a port that another process holds, but not a port of this
// process. Call it before Open.
func (h *Host) Check() []Finding {
	var out []Finding
	for _, check := range []func() []Finding{capabilities, tunDevice, ports, forwarding, h.filteredForward, h.reversePath} {
		out = append(out, check()...)
	}
	return out
}

// capabilities reads the effective set of this thread.
func capabilities() (out []Finding) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return nil
	}
	for _, c := range []struct {
		bit  uint
		code diag.Code
	}{
		{unix.CAP_NET_ADMIN, diag.NetAdmin},
		{unix.CAP_NET_RAW, diag.NetRaw},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			out = append(out, Finding{diag.Cause{Code: c.code}, true})
		}
	}
	return out
}

func tunDevice() []Finding {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
		return nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return []Finding{{diag.Cause{Code: diag.TUNDenied}, true}}
	}
	return []Finding{{diag.Cause{Code: diag.NoTUN}, true}}
}

// ports finds the processes that hold our UDP ports. This is not fatal: the gateway may use
// other addresses (`listen`), and Open fails otherwise.
func ports() (out []Finding) {
	self := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, port := range []uint16{PortIKE, PortNATT} {
		for _, v6 := range []bool{false, true} {
			if len(udpInodes(v6, port)) == 0 {
				continue
			}
			if who := portOwner(v6, port); !strings.HasSuffix(who, self) {
				out = append(out, Finding{diag.Cause{Code: diag.PortInUse, Count: int(port), Name: who}, false})
				break
			}
		}
	}
	return out
}

func forwarding() []Finding {
	if sysctl("net/ipv4/ip_forward") == "0" {
		return []Finding{{diag.Cause{Code: diag.IPForward}, false}}
	}
	return nil
}

// reversePath finds devices that filter strictly by reverse path (RFC 3704). The kernel takes
// the larger of "all" and the device's own setting. Once a tunnel's route
// covers a peer's address, such a device drops the peer's packets; where
// routes are not symmetric it drops those of the LAN. Elsewhere it is useful: it
// also discards forged sources that Discard, which knows our routes only, lets pass.
func (h *Host) reversePath() (out []Finding) {
	strict := func(name, device string) Finding {
		return Finding{diag.Cause{Code: diag.RPFilter, Name: name, Device: device}, false}
	}
	switch sysctl("net/ipv4/conf/all/rp_filter") {
	case "1":
		return []Finding{strict("all devices", "all")}
	case "2":
		return nil // loose everywhere
	}
	err := h.filters.each(unix.NETLINK_ROUTE, unix.RTM_GETNETCONF, []byte{unix.AF_INET, 0, 0, 0}, func(d []byte) {
		const header, index, filter = 4, 1, 3 // struct netconfmsg, NETCONFA_IFINDEX, NETCONFA_RP_FILTER
		if v := attribute(d, header, filter); len(v) != 4 || binary.NativeEndian.Uint32(v) != 1 {
			return
		}
		if v := attribute(d, header, index); len(v) == 4 && int32(binary.NativeEndian.Uint32(v)) > 0 { // not all and default
			if l, err := h.nl.LinkByIndex(int(binary.NativeEndian.Uint32(v))); err == nil && l.Attrs().Flags&net.FlagLoopback == 0 {
				out = append(out, strict(l.Attrs().Name, l.Attrs().Name))
			}
		}
	})
	if err != nil {
		return nil
	}
	return out
}

// sysctl reads a knob; empty: there is none.
func sysctl(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(b))
}
