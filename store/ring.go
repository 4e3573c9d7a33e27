package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Ring keeps the last records of a growing list, in two files of one line for each record: the current file, and the
// one before it, which goes when the current one is full. A line is the record's CRC-32 in eight hexadecimal digits, a
// blank, and the record, which has no line feed in it. So a crash costs the line that was being written, a damaged line
// costs itself, and reading all is one pass. A database such as bbolt would map a file that anyone may have damaged and
// panic on it.
//
// A Ring is locked: two daemons with one directory do not write the same file. Not safe for concurrent use.
type Ring struct {
	dir   Dir
	name  string
	keep  int
	file  *os.File
	lines int   // of the current file
	size  int64 // up to where the current file is whole
	torn  bool  // what lies behind size is the rest of a write that failed
}

// Bounds of a Ring.
const (
	maxRecord  = 64 << 10
	maxSegment = 16 << 20 // bytes of one file
)

// OpenRing opens the ring of a name, which keeps at least the last keep records, and returns these, the oldest first. What is
// not a ring, or has damaged lines, is moved aside: damage says so, and the ring goes on with the lines that are whole.
// err says that nothing can be kept.
func (d Dir) OpenRing(name string, keep int) (r *Ring, records [][]byte, damage, err error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, nil, nil, err
	}
	r = &Ring{dir: d, name: name, keep: keep}
	defer func(opened *Ring) {
		if err != nil {
			opened.Close()
		}
	}(r)
	if err := regular(r.path()); err != nil {
		damage = r.aside(r.path(), err)
	}
	if err := r.open(0); err != nil { // the lock comes before the first look
		return nil, nil, damage, err
	}
	old, why := r.readOld()
	if why != nil {
		damage = errors.Join(damage, r.aside(r.old(), why))
	}
	now, end, why := read(r.file)
	r.lines, r.size = len(now), end
	if why == nil {
		err = r.file.Truncate(end) // a crash may have left the start of a line
	} else {
		damage = errors.Join(damage, r.aside(r.path(), why))
		if err = r.open(os.O_EXCL); err == nil {
			r.lines, r.size = 0, 0
			err = r.Append(now...)
		}
	}
	records = append(old, now...)
	return r, records[max(0, len(records)-keep):], damage, err
}

func (r *Ring) path() string { return r.dir.Path(r.name) }
func (r *Ring) old() string  { return r.dir.Path(r.name + ".old") }

// aside moves a file out of the way. There is one such file, the last.
func (r *Ring) aside(path string, why error) error {
	to := path + ".damaged"
	os.RemoveAll(to)
	if err := os.Rename(path, to); err != nil {
		return fmt.Errorf("%s: %w; it cannot be moved aside: %w", path, why, err)
	}
	return fmt.Errorf("%s: %w; it is now %s", path, why, to)
}

// open opens the current file, and takes its lock.
func (r *Ring) open(how int) error {
	f, err := os.OpenFile(r.path(), os.O_CREATE|os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW|how, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("another process uses %s: %w", r.path(), err)
	}
	r.Close()
	r.file = f
	return nil
}

// readOld reads the file before the current one, if there is one.
func (r *Ring) readOld() ([][]byte, error) {
	if err := regular(r.old()); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.old(), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	records, _, err := read(f)
	return records, err
}

// regular says why what is at a path is no file of ours.
func regular(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	return nil
}

// read returns the whole lines of a file, the end of the last one, and why not all are whole.
func read(f *os.File) ([][]byte, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if info.Size() > 2*maxSegment {
		return nil, 0, fmt.Errorf("it has %d bytes, more than a file of these ever has", info.Size())
	}
	text := make([]byte, info.Size())
	n, err := f.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	records, end, bad := split(text[:n])
	if bad > 0 {
		return records, end, fmt.Errorf("line %d is damaged", bad)
	}
	return records, end, nil
}

// split returns the records of a file's text, the end of its last whole line, and the number of the first damaged line; 0:
// there is none. Text behind the last line feed is a line that a crash has cut off, and no damage, if a line comes before it.
func split(text []byte) (records [][]byte, end int64, bad int) {
	for n := 1; len(text) > 0; n++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			if n == 1 {
				bad = 1
			}
			break
		}
		end += int64(len(line)) + 1
		text = rest
		if record, ok := recordOf(line); ok {
			records = append(records, record)
		} else if bad == 0 {
			bad = n
		}
	}
	return records, end, bad
}

func recordOf(line []byte) ([]byte, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	return line[9:], err == nil && uint32(sum) == crc32.ChecksumIEEE(line[9:])
}

// Append adds records. A crash of the process afterwards loses none of them, one of the host may until Sync returns. An
// error means that none was added.
func (r *Ring) Append(records ...[]byte) error {
	if r.torn {
		if err := r.file.Truncate(r.size); err != nil {
			return err
		}
		r.torn = false
	}
	room := 0
	for _, record := range records {
		room += len(record) + 10
	}
	text, lines := make([]byte, 0, room), 0
	for _, record := range records {
		if len(record) > maxRecord || bytes.IndexByte(record, '\n') >= 0 {
			continue // no record of ours
		}
		text = fmt.Appendf(text, "%08x %s\n", crc32.ChecksumIEEE(record), record)
		lines++
	}
	if r.lines > 0 && (r.lines+lines > r.keep || r.size+int64(len(text)) > maxSegment) {
		if err := r.turn(); err != nil {
			return err
		}
	}
	n, err := r.file.Write(text)
	if err != nil {
		r.torn = n > 0
		return err
	}
	r.lines += lines
	r.size += int64(n)
	return nil
}

// turn makes the current file the old one, and begins another.
func (r *Ring) turn() error {
	if err := r.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(r.path(), r.old()); err != nil {
		return err
	}
	if err := r.open(os.O_EXCL); err != nil {
		return errors.Join(err, os.Rename(r.old(), r.path()))
	}
	r.lines, r.size = 0, 0
	return r.dir.sync()
}

// Sync writes the records to the disk.
func (r *Ring) Sync() error { return r.file.Sync() }

// Close lets go of the files.
func (r *Ring) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
