package capture

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// gopacket shares nothing with the Writer.
func TestGopacketReadsWhatIsWritten(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, "vpngw", 64, []Interface{{"outer", "IKE and ESP with 192.0.2.1"}, {"inner", "device vpngw0"}})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 123_456_789)
	short, long := []byte{0x45, 1, 2}, bytes.Repeat([]byte{0x45}, 100)
	for _, p := range []Packet{{0, at, true, short}, {1, at.Add(time.Nanosecond), false, long}} {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		if err := w.Statistics(at, i, 10, uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(b.Bytes())
	r, err := pcapgo.NewNgReader(&b, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		data   []byte
		length int
		at     time.Time
	}{{short, 3, at}, {long[:64], 100, at.Add(time.Nanosecond)}} {
		data, ci, err := r.ReadPacketData()
		if err != nil || !bytes.Equal(data, want.data) || ci.Length != want.length || !ci.Timestamp.Equal(want.at) || ci.InterfaceIndex != i {
			t.Errorf("packet %d: %x, %+v, %v", i, data, ci, err)
		}
	}
	if _, _, err := r.ReadPacketData(); err != io.EOF {
		t.Errorf("behind the last packet: %v", err)
	}
	for i, name := range []string{"outer", "inner"} {
		in, err := r.Interface(i)
		if err != nil || in.Name != name || in.LinkType != layers.LinkTypeRaw || in.SnapLength != 64 || in.Statistics.PacketsReceived != 10 || in.Statistics.PacketsDropped != uint64(i) {
			t.Errorf("interface %d: %+v, %v", i, in, err)
		}
	}

	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	file := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tshark, "-r", file, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.len", "-e", "frame.cap_len").Output()
	if want := "outer\t0x00000002\t3\t3\ninner\t0x00000001\t100\t64\n"; err != nil || string(out) != want {
		t.Errorf("tshark: %v\n%s\nwant\n%s", err, out, want)
	}
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

func TestAnErrorOfTheFileStays(t *testing.T) {
	w, err := NewWriter(&failing{2}, "vpngw", 64, []Interface{{Name: "inner"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Write(Packet{Data: []byte{0x45}}); err != io.ErrClosedPipe {
			t.Errorf("got %v", err)
		}
	}
	if _, err := NewWriter(&failing{0}, "vpngw", 64, nil); err != io.ErrClosedPipe {
		t.Errorf("got %v", err)
	}
}

func TestTablesAreForTheirOwnerAlone(t *testing.T) {
	parent := t.TempDir()
	defer syscall.Umask(syscall.Umask(0o177))
	dir := filepath.Join(parent, "keys")
	tables, err := MakeTables(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Add("esp_sa", "a row\n"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "esp", "../esp_sa", "preferences"} {
		if err := tables.Add(name, "x"); err == nil {
			t.Errorf("a table %q was written", name)
		}
	}
	if err := tables.Close(); err != nil {
		t.Error(err)
	}
	modes := map[string]os.FileMode{".": 0o700, "esp_sa": 0o600, "ikev1_decryption_table": 0o600, "ikev2_decryption_table": 0o600, "preferences": 0o600, "colorfilters": 0o600}
	for name, want := range modes {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "esp_sa")); err != nil || string(b) != "a row\n" {
		t.Errorf("%q, %v", b, err)
	}

	// Whatever is at the path, keys never go into it.
	syscall.Umask(0)
	link := filepath.Join(parent, "link")
	for path, make := range map[string]func(string) error{
		dir:                               func(string) error { return nil },
		link:                              func(p string) error { return os.Symlink(t.TempDir(), p) },
		filepath.Join(parent, "dangling"): func(p string) error { return os.Symlink(filepath.Join(parent, "nowhere"), p) },
		filepath.Join(parent, "file"):     func(p string) error { return os.WriteFile(p, nil, 0o666) },
	} {
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := MakeTables(path); err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := tables.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory stays: %v", err)
	}
}

// A try that fails does not stand in the way of the next one.
func TestHalfOfTheTablesIsNoTables(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	whole := tables
	defer func() { tables = whole }()
	tables = append(slices.Clone(whole), "no/such/directory")
	if _, err := MakeTables(dir); err == nil {
		t.Error("a file was made in a directory that is not there")
	}
	tables = whole
	again, err := MakeTables(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// Wireshark ignores a filter that it does not understand, with a message that nobody sees.
func TestWiresharkTakesTheProfile(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	dir := filepath.Join(t.TempDir(), "keys")
	tables, err := MakeTables(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	var b bytes.Buffer
	w, _ := NewWriter(&b, "vpngw", 64, []Interface{{Name: "inner"}})
	w.Write(Packet{Data: tcp4(100, 0)})
	file := filepath.Join(t.TempDir(), "x.pcapng")
	os.WriteFile(file, b.Bytes(), 0o600)
	run := func(args ...string) (string, string) {
		cmd := exec.Command(tshark, append([]string{"-r", file}, args...)...)
		cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("tshark %q: %v", args, err)
		}
		return string(out), strings.ReplaceAll(stderr.String(), "Running as user \"root\" and group \"root\". This could be dangerous.\n", "")
	}
	if out, errs := run(); strings.TrimSpace(errs) != "" || !strings.Contains(out, "inner") {
		t.Errorf("tshark prints %q and %q", out, errs)
	}
	filters, err := profile.ReadFile("profile/colorfilters")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(filters)) {
		if f := strings.Split(line, "@"); len(f) > 3 {
			all = append(all, "("+f[2]+")")
		}
	}
	if out, errs := run("-Y", strings.Join(all, " || ")); len(all) < 5 || strings.TrimSpace(errs) != "" || out == "" {
		t.Errorf("%d filters: tshark prints %q and %q", len(all), out, errs)
	}
}
