package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const kept = 10

func openRing(t *testing.T, d Dir) (*Ring, []string, error) {
	t.Helper()
	r, records, damage, err := d.OpenRing("events", kept)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	var out []string
	for _, b := range records {
		out = append(out, string(b))
	}
	return r, out, damage
}

// numbers names records from a to b, both included.
func numbers(a, b int) (out [][]byte) {
	for ; a <= b; a++ {
		out = append(out, fmt.Appendf(nil, "record %d", a))
	}
	return out
}

func wantRecords(t *testing.T, got []string, a, b int) {
	t.Helper()
	var want []string
	for _, r := range numbers(a, b) {
		want = append(want, string(r))
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("records are %q, want %d to %d", got, a, b)
	}
}

func TestRingKeepsTheLastRecords(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state"))
	for n := 1; n <= 5*kept; n++ { // every record is the first one of a process, some come with others
		r, got, damage := openRing(t, d)
		if damage != nil {
			t.Fatal(damage)
		}
		wantRecords(t, got, max(1, n-kept), n-1)
		if n%7 == 0 {
			n += 3
			if err := r.Append(numbers(n-3, n-1)...); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Append(numbers(n, n)...); err != nil {
			t.Fatal(err)
		}
		if err := r.Sync(); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	list, _ := os.ReadDir(string(d))
	if len(list) != 2 {
		t.Errorf("there are %v, want two files", list)
	}
	for _, e := range list {
		if info, _ := e.Info(); info.Mode() != 0o600 || info.Size() > 2*kept*30 {
			t.Errorf("%s has mode %v and %d bytes", e.Name(), info.Mode(), info.Size())
		}
	}
}

// Whatever a crash, another program or a person left in the place of the file, the ring opens, with what is whole.
func TestRingOutlivesDamage(t *testing.T) {
	whole := func(d Dir) {
		r, _, _, err := d.OpenRing("events", kept)
		if err == nil {
			err = r.Append(numbers(1, 5)...)
			r.Close()
		}
		if err != nil {
			panic(err)
		}
	}
	rewrite := func(change func(b []byte) []byte) func(Dir) {
		return func(d Dir) {
			whole(d)
			b, _ := os.ReadFile(d.Path("events"))
			os.WriteFile(d.Path("events"), change(b), 0o600)
		}
	}
	for _, tt := range []struct {
		name    string
		make    func(Dir)
		a, b    int // the records that are left
		damaged bool
	}{
		{"a line that a crash cut off", rewrite(func(b []byte) []byte { return b[:len(b)-4] }), 1, 4, false},
		{"a line that has only begun", rewrite(func(b []byte) []byte { return append(b, '1') }), 1, 5, false},
		{"a flipped bit", rewrite(func(b []byte) []byte { b[12] ^= 1; return b }), 2, 5, true},
		{"zeros", rewrite(func(b []byte) []byte { return append(b, make([]byte, 4096)...) }), 1, 5, false},
		{"zeros and a line", rewrite(func(b []byte) []byte { return append(b, "\x00\x00\n"...) }), 1, 5, true},
		{"a file of another program", func(d Dir) { os.WriteFile(d.Path("events"), []byte("SQLite format 3\x00"), 0o600) }, 1, 0, true},
		{"a large file of another program", func(d Dir) {
			os.WriteFile(d.Path("events"), nil, 0o600)
			os.Truncate(d.Path("events"), 1<<40)
		}, 1, 0, true},
		{"a directory", func(d Dir) { os.MkdirAll(d.Path("events")+"/x", 0o700) }, 1, 0, true},
		{"a link to nothing", func(d Dir) { os.Symlink("/nonexistent/x", d.Path("events")) }, 1, 0, true},
		{"a directory in the place of the old file", func(d Dir) { whole(d); os.Mkdir(d.Path("events.old"), 0o700) }, 1, 5, true},
		{"an empty file", func(d Dir) { os.WriteFile(d.Path("events"), nil, 0o600) }, 1, 0, false},
	} {
		d := Dir(t.TempDir())
		tt.make(d)
		r, got, damage := openRing(t, d)
		t.Log(tt.name, damage)
		if (damage != nil) != tt.damaged {
			t.Errorf("%s: damage is %v, want %v", tt.name, damage, tt.damaged)
		}
		wantRecords(t, got, tt.a, tt.b)
		if err := r.Append([]byte("record 6")); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		r.Close()
		_, got, damage = openRing(t, d)
		if damage != nil || len(got) != tt.b-tt.a+2 || got[len(got)-1] != "record 6" {
			t.Errorf("%s: after another record there are %q, %v", tt.name, got, damage)
		}
	}
}

func TestRingIsOfOneProcess(t *testing.T) {
	d := Dir(t.TempDir())
	openRing(t, d)
	if _, _, _, err := d.OpenRing("events", kept); err == nil || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("a second one: %v", err)
	}
}

// A disk that is full costs nothing that was written, and is tried again.
func TestRingOnAFullDisk(t *testing.T) {
	d := Dir(t.TempDir())
	r, _, _ := openRing(t, d)
	if err := r.Append(numbers(1, 2)...); err != nil {
		t.Fatal(err)
	}
	right := r.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	r.file = full
	if err := r.Append(numbers(3, 3)...); err == nil {
		t.Error("a full disk took a record")
	}
	full.Close()
	// A disk that had room for a part of the line.
	r.file, r.torn = right, true
	right.Write([]byte("0000"))
	if err := r.Append(numbers(3, 3)...); err != nil {
		t.Fatal(err)
	}
	r.Close()
	_, got, damage := openRing(t, d)
	if damage != nil {
		t.Error(damage)
	}
	wantRecords(t, got, 1, 3)
}

// A new file that cannot be made costs nothing of the one that goes on.
func TestRingThatCannotTurn(t *testing.T) {
	d := Dir(t.TempDir())
	const many = 1000
	r, _, _, err := d.OpenRing("events", many)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	record, n := bytes.Repeat([]byte("x"), maxRecord), 0
	for ; r.size+maxRecord+10 <= maxSegment; n++ {
		if err := r.Append(record); err != nil {
			t.Fatal(err)
		}
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: files.Max}); err != nil {
		t.Fatal(err)
	}
	err = r.Append(record)
	if e := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); e != nil {
		t.Fatal(e)
	}
	if err == nil {
		t.Fatal("it has made a new file without a descriptor")
	}
	// A disk that had room for a part of the line, then.
	r.file.Write([]byte("0000"))
	r.torn = true
	if err := r.Append([]byte("the last")); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r, got, damage, err := d.OpenRing("events", many)
	if err != nil || damage != nil {
		t.Fatal(err, damage)
	}
	r.Close()
	if len(got) != n+1 || string(got[n]) != "the last" {
		t.Errorf("%d records are left of %d", len(got), n+1)
	}
}

// All damage is told of.
func TestRingWithTwoDamagedFiles(t *testing.T) {
	d := Dir(t.TempDir())
	for _, name := range []string{"events", "events.old"} {
		if err := os.WriteFile(d.Path(name), []byte("SQLite format 3\x00"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, damage := openRing(t, d)
	if damage == nil || !strings.Contains(damage.Error(), "events.damaged") || !strings.Contains(damage.Error(), "events.old.damaged") {
		t.Errorf("damage is %v", damage)
	}
}

func TestRingTakesNoRecordThatIsNoLine(t *testing.T) {
	d := Dir(t.TempDir())
	r, _, _ := openRing(t, d)
	if err := r.Append([]byte("record 1"), []byte("a\nb"), bytes.Repeat([]byte("x"), maxRecord+1), []byte("record 2")); err != nil {
		t.Fatal(err)
	}
	r.Close()
	_, got, _ := openRing(t, d)
	wantRecords(t, got, 1, 2)
}
