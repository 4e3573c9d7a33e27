package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Check looks for what on this host stops the gateway, or a part of what it is
// for. Each finding is one line with its remedy. Call it before Open: the ports
// that we hold ourselves are no finding, but those of another vpngw are.
func (h *Host) Check() []Finding {
	var out []Finding
	for _, check := range []func() []Finding{capabilities, tunDevice, ports, forwarding, reversePath} {
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
		bit        uint
		code, need string
	}{
		{unix.CAP_NET_ADMIN, "net-admin", "devices, addresses and routes"},
		{unix.CAP_NET_RAW, "net-raw", "sockets for ESP, protocol 50"},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			name := "CAP_" + strings.ToUpper(strings.ReplaceAll(c.code, "-", "_"))
			out = append(out, Finding{c.code, fmt.Sprintf(
				"no %s, which %s need; run as root, or with AmbientCapabilities=%s in the unit", name, c.need, name), true})
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
		return []Finding{{"tun", "/dev/net/tun is not to be opened by this user; run as root, or allow the device to the unit or container", true}}
	}
	return []Finding{{"tun", "no /dev/net/tun; modprobe tun (in a container: --device /dev/net/tun)", true}}
}

// ports are not fatal: with `listen` the gateway may want other addresses. Open tells.
func ports() (out []Finding) {
	self := fmt.Sprintf("(pid %d)", os.Getpid())
	for _, port := range []uint16{PortIKE, PortNATT} {
		for _, v6 := range []bool{false, true} {
			if len(udpInodes(v6, port)) == 0 {
				continue
			}
			if who := portOwner(v6, port); !strings.HasSuffix(who, self) {
				out = append(out, Finding{"port", fmt.Sprintf(
					"UDP port %d is in use by %s; stop that, or narrow `listen` to addresses that it leaves free", port, who), false})
				break
			}
		}
	}
	return out
}

func forwarding() []Finding {
	if sysctl("net/ipv4/ip_forward") == "0" {
		return []Finding{{"ip-forward", "ip_forward is 0: hosts behind this gateway will not be reached; sysctl -w net.ipv4.ip_forward=1", false}}
	}
	return nil
}

// reversePath finds devices that check strictly (RFC 3704) where answers come
// back: the larger of "all" and the device's own counts. Once a tunnel's route
// covers a peer's address, they drop the peer's packets, and the LAN's where
// routes are not symmetric.
func reversePath() (out []Finding) {
	const means = ": packets that arrive where no route leads back are dropped, those of a peer within a tunnel's prefix included"
	all := sysctl("net/ipv4/conf/all/rp_filter")
	switch all {
	case "1":
		return []Finding{{"rp-filter", "rp_filter is 1 on all devices" + means + "; sysctl -w net.ipv4.conf.all.rp_filter=2", false}}
	case "2":
		return nil // loose everywhere
	}
	paths, _ := filepath.Glob("/proc/sys/net/ipv4/conf/*/rp_filter")
	for _, p := range paths {
		dev := filepath.Base(filepath.Dir(p))
		if dev == "lo" || dev == "all" || dev == "default" {
			continue
		}
		name := "net/ipv4/conf/" + dev + "/rp_filter"
		if sysctl(name) == "1" {
			out = append(out, Finding{"rp-filter", "rp_filter is 1 on " + dev + means + "; sysctl -w " + name + "=2", false})
		}
	}
	return out
}

// sysctl reads a knob; empty: there is none.
func sysctl(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(b))
}
