package load

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder is a folder with a configuration that names a body and a key.
type folder struct{ dir, main, body, key string }

func newFolder(t *testing.T) folder {
	dir := filepath.Join(t.TempDir(), "vpngw")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	body := strings.NewReplacer("\n", "", `"Psk": "not-a-real-secret", `, "").Replace(bodyText)
	return folder{
		dir:  dir,
		main: write(t, dir, "vpngw.yaml", "version: 1\nconnections: [{alibaba: body.json, psk_file: hq.psk}]", 0o600),
		body: write(t, dir, "body.json", body, 0o600),
		key:  write(t, dir, "hq.psk", "not-a-real-secret", 0o600),
	}
}

// refused wants the folder's configuration to be refused with this code, in these words.
func (f folder) refused(t *testing.T, main, code string, says ...string) {
	t.Helper()
	c, ps := File(main, Options{})
	if c != nil || len(ps) == 0 || ps[0].Code != code {
		t.Errorf("got %v with\n%s\nwant %s", c != nil, lines(ps), code)
		return
	}
	for _, s := range says {
		if !strings.Contains(ps[0].Message, s) {
			t.Errorf("got %q, want %q in it", ps[0].Message, s)
		}
	}
}

func chmod(t *testing.T, name string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatOthersCanChangeAreRefused(t *testing.T) {
	for _, mode := range []fs.FileMode{0o602, 0o666, 0o622} {
		f := newFolder(t)
		chmod(t, f.main, mode)
		f.refused(t, f.main, "vpngw.config.exposed", "everybody on this host can change it", "chmod go-w "+f.main)
		f = newFolder(t)
		chmod(t, f.body, mode)
		f.refused(t, f.main, "vpngw.alibaba.exposed", "everybody on this host can change it", "chmod go-w "+f.body)
		f = newFolder(t)
		chmod(t, f.key, mode)
		f.refused(t, f.main, "vpngw.psk_file.exposed", "everybody on this host can change it", "chmod go-w "+f.key)
	}
	f := newFolder(t)
	if c, ps := File(f.main, Options{}); c == nil {
		t.Errorf("private files are refused:\n%s", lines(ps))
	}
	chmod(t, f.main, 0o664) // the group is this process's own
	if c, ps := File(f.main, Options{}); c == nil {
		t.Errorf("a file that our own group can change is refused:\n%s", lines(ps))
	}
}

func TestFilesInADirectoryThatOthersCanChangeAreRefused(t *testing.T) {
	f := newFolder(t)
	chmod(t, f.dir, 0o777)
	f.refused(t, f.main, "vpngw.config.exposed", "everybody on this host can replace it", f.dir, "chmod o-w "+f.dir)
	chmod(t, f.dir, 0o777|fs.ModeSticky)
	if c, ps := File(f.main, Options{}); c == nil {
		t.Errorf("a sticky directory is refused:\n%s", lines(ps))
	}

	// A symlink is as safe as the directories of both its ends.
	safe, open := filepath.Join(t.TempDir(), "link.yaml"), filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{safe, filepath.Join(open, "link.yaml")} {
		if err := os.Symlink(f.main, link); err != nil {
			t.Fatal(err)
		}
	}
	chmod(t, open, 0o777)
	f.refused(t, filepath.Join(open, "link.yaml"), "vpngw.config.exposed", open)
	chmod(t, f.dir, 0o777)
	f.refused(t, safe, "vpngw.config.exposed", f.dir)
}

func TestFilesOfAnotherUserOrGroupAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: another user's files")
	}
	const other = 65534
	f := newFolder(t)
	if err := os.Chown(f.key, other, 0); err != nil {
		t.Fatal(err)
	}
	f.refused(t, f.main, "vpngw.psk_file.exposed", "user 65534 can change it", "chown root "+f.key)
	if err := os.Chown(f.key, 0, other); err != nil {
		t.Fatal(err)
	}
	if c, ps := File(f.main, Options{}); c == nil {
		t.Errorf("a file that another group cannot change is refused:\n%s", lines(ps))
	}
	chmod(t, f.key, 0o660)
	f.refused(t, f.main, "vpngw.psk_file.exposed", "group 65534 can change it", "chmod g-w "+f.key)
}

// A process substitution and standard input are pipes without a name.
func TestPipesWithoutANameAreRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		w.WriteString("version: 1\nconnections: []\n")
	}()
	if c, ps := File(fmt.Sprintf("/dev/fd/%d", r.Fd()), Options{}); c == nil {
		t.Errorf("refused:\n%s", lines(ps))
	}
}
