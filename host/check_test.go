package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vpngw/diag"
)

func TestCheckNamesEachObstacleWithItsRemedy(t *testing.T) {
	s, h := world(t)
	set := func(knob, value string) {
		t.Helper()
		s.must(os.WriteFile("/proc/sys/net/ipv4/"+knob, []byte(value), 0o644))
	}
	set("ip_forward", "1")
	set("conf/all/rp_filter", "0")
	set("conf/eth0/rp_filter", "0")
	set("conf/eth1/rp_filter", "0")
	if got := h.Check(); len(got) > 0 {
		t.Errorf("on a good host: %v", got)
	}
	set("ip_forward", "0")
	set("conf/eth0/rp_filter", "1")
	got := h.Check()
	if len(got) != 2 || !got[0].Cause.Is(diag.IPForward) || !got[1].Cause.Is(diag.RPFilter) || got[0].Fatal || got[1].Fatal ||
		!strings.Contains(got[0].String(), "sysctl -w net.ipv4.ip_forward=1") ||
		!strings.Contains(got[1].String(), "rp_filter is 1 on eth0") ||
		!strings.Contains(got[1].String(), "sysctl -w net/ipv4/conf/eth0/rp_filter=2") {
		t.Errorf("got %v", got)
	}
	set("conf/all/rp_filter", "1")
	if got := h.Check(); len(got) != 2 || !strings.Contains(got[1].String(), "on all devices") {
		t.Errorf("got %v", got)
	}
	set("conf/all/rp_filter", "2") // loose wins
	if got := h.Check(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	s.open(h) // our own ports are no finding
	if got := h.Check(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	for _, f := range got {
		if s := f.String(); strings.Contains(s, "\n") {
			t.Errorf("not one line: %q", s)
		}
	}
}

// A chain that drops what is forwarded is in the way of a LAN, until a rule names the tunnels.
func TestCheckNamesAChainThatDropsForwardedPackets(t *testing.T) {
	s, h := world(t)
	for _, tt := range []struct{ table, remedy string }{
		{"inet fw", `nft insert rule inet fw passing iifname "vpngw*" accept`},
		{"ip filter", "iptables -I FORWARD -i vpngw+ -j ACCEPT; iptables -I FORWARD -o vpngw+ -j ACCEPT"},
	} {
		chain := "passing"
		if tt.table == "ip filter" {
			chain = "FORWARD"
		}
		s.exec("nft", "table "+tt.table+" { chain "+chain+" { type filter hook forward priority 0; policy drop; ct state established accept; }; chain other { type filter hook input priority 0; policy drop; }; }")
		named := func() (out []Finding) {
			return slices.DeleteFunc(h.Check(), func(f Finding) bool { return !f.Cause.Is(diag.ForwardDrop) })
		}
		if got := named(); len(got) != 1 || got[0].Fatal || !strings.Contains(got[0].String(), tt.remedy) {
			t.Errorf("%s: got %v", tt.table, got)
		}
		s.exec("nft", "insert rule "+tt.table+" "+chain+" iifname \"vpngw*\" accept")
		if got := named(); len(got) != 0 {
			t.Errorf("%s: with a rule for the tunnels: %v", tt.table, got)
		}
		s.exec("nft", "delete table "+tt.table)
	}
}

// The rules of the kernel's older packet filter cannot be read, and a host that has its tables is told so.
func TestTablesOfTheOlderPacketFilterAreNamed(t *testing.T) {
	for _, tt := range []struct {
		v4, v6 string // the files; "-": there is none
		want   []string
	}{
		{"-", "-", nil},
		{"", "", nil},
		{"filter\nnat\n", "-", []string{"iptables: filter, nat, and vpngw cannot read their rules: `iptables-legacy-save`"}},
		{"filter\n", "mangle\n", []string{"iptables: filter", "`ip6tables-legacy-save`"}},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"ip_tables_names": tt.v4, "ip6_tables_names": tt.v6} {
			if text != "-" {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := unreadIn(dir, dir)
		if len(got) != len(tt.want) {
			t.Errorf("%q, %q: got %v", tt.v4, tt.v6, got)
			continue
		}
		for i, f := range got {
			if f.Fatal || !f.Cause.Is(diag.FilterUnread) || !strings.Contains(f.String(), tt.want[i]) {
				t.Errorf("got %v, want %q", f, tt.want[i])
			}
		}
	}
}

// A daemon that is not root may not list the tables: the kernel's modules tell that there is none.
func TestTablesThatThisUserMayNotList(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with its user
	dir := t.TempDir()
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it reads as another user")
	}
	for _, tt := range []struct {
		modules string
		want    []string
	}{
		{"", []string{"iptables: which this user may not list", "ip6tables: which"}}, // built in
		{"ip_tables ip6_tables", nil},
		{"ip_tables iptable_nat ip6_tables", []string{"iptables: which this user may not list"}},
		{"ip_tables ip6_tables ip6table_filter", []string{"ip6tables: which"}},
	} {
		modules := t.TempDir()
		if err := os.Chmod(modules, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, m := range strings.Fields(tt.modules) {
			if err := os.Mkdir(filepath.Join(modules, m), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		got := unreadIn(dir, modules)
		if err := unix.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(tt.want) {
			t.Errorf("modules %q: got %v, want %q", tt.modules, got, tt.want)
			continue
		}
		for i, f := range got {
			if !strings.Contains(f.String(), tt.want[i]) {
				t.Errorf("modules %q: got %v, want %q", tt.modules, f, tt.want[i])
			}
		}
	}
}

func TestCheckNamesAPortInUse(t *testing.T) {
	s, h := world(t)
	cmd := exec.Command("/bin/sh", "-c", "read line <&0") // holds the port while it waits
	file := bindIKE(t)
	cmd.ExtraFiles = []*os.File{file}
	in, err := cmd.StdinPipe()
	s.must(err)
	s.must(cmd.Start())
	defer cmd.Wait()
	defer in.Close()
	file.Close() // and this process has it no longer
	for _, f := range h.Check() {
		if f.Cause.Is(diag.PortInUse) {
			if f.Cause.Count != PortIKE || !strings.Contains(f.Cause.Name, "(pid ") || f.Fatal {
				t.Errorf("got %+v", f)
			}
			return
		}
	}
	t.Error("a port in use was not found")
}

// bindIKE is a socket on port 500.
func bindIKE(t *testing.T) *os.File {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: PortIKE})
	}
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "socket")
}

// The thread that the test ends with has no capabilities, and no /dev/net.
func TestCheckMissesCapabilitiesAndTheDevice(t *testing.T) {
	s, h := world(t)
	s.must(unix.Unshare(unix.CLONE_NEWNS))
	s.must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	codes := func() (out []diag.Code) {
		for _, f := range h.Check() {
			if f.Fatal {
				out = append(out, f.Cause.Code)
			}
		}
		return out
	}
	if got := codes(); len(got) > 0 {
		t.Errorf("fatal on a good host: %v", got)
	}
	s.must(unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""))
	if got := codes(); !slices.Equal(got, []diag.Code{diag.NoTUN}) {
		t.Errorf("without /dev/net/tun: %v", got)
	}
	s.must(os.WriteFile("/dev/net/tun", nil, 0))
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	s.must(unix.Capset(&header, &none[0]))
	if got, want := codes(), []diag.Code{diag.NetAdmin, diag.NetRaw, diag.TUNDenied}; !slices.Equal(got, want) {
		t.Errorf("without capabilities: %v, want %v", got, want)
	}
}
