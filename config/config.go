// Package config turns a file into a validated Config and has no other effect.
//
// A file's way: tree reads it with the place of everything in it; the tables
// of dialect check it, strictly, and collect every problem at once; the
// connection's dialect (native, or a cloud's) builds a Connection of the body;
// what stands beside the body is applied; and at last the connections are held
// against each other. Nothing here is specific to a cloud.
package config

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"vpngw/config/dialect"
	"vpngw/config/tree"
	"vpngw/diag"
)

// ReadFile reads a file of at most limit bytes, and tells its mode. The mode 0
// means that it is not known.
type ReadFile func(name string, limit int) ([]byte, fs.FileMode, error)

// Load reads the file at path, and the files it names. The Config is nil if
// and only if there is an error among the problems; warnings come with it.
func Load(path string) (*Config, diag.Problems) {
	s, ps := Trace(path)
	return s.Config, ps
}

// Source is a Config with what it was made of.
type Source struct {
	*Config                  // nil: there is an error
	Root    *dialect.Value   // the whole file
	Drafts  []*dialect.Draft // of the connections, in their order
}

// Trace is Load that keeps the values, with their places.
func Trace(path string) (Source, diag.Problems) {
	budget := tree.NewBudget()
	data, mode, err := readFile(path, budget.Bytes(), true)
	if err != nil {
		return Source{}, diag.Problems{{Severity: diag.Error, Code: "vpngw.config.unreadable", File: path, Message: reason(err)}}
	}
	regular := func(name string, limit int) ([]byte, fs.FileMode, error) { return readFile(name, limit, false) }
	return load(path, data, mode, regular, budget)
}

// TraceText is Trace as Parse is Load.
func TraceText(read ReadFile, name string, data []byte) (Source, diag.Problems) {
	return load(name, data, 0, read, tree.NewBudget())
}

// Parse is Load of a text that is named name; files that it names are read by read.
func Parse(read ReadFile, name string, data []byte) (*Config, diag.Problems) {
	s, ps := TraceText(read, name, data)
	return s.Config, ps
}

// loader is one call of Load.
type loader struct {
	*dialect.Check
	main   string
	read   ReadFile
	modes  map[string]fs.FileMode // of the files read
	bodies map[string]body
}

// body is a file with a connection's body.
type body struct {
	root *tree.Request
	errs []tree.Error
	err  error
}

func load(name string, data []byte, mode fs.FileMode, read ReadFile, budget *tree.Budget) (Source, diag.Problems) {
	l := &loader{
		Check: dialect.NewCheck(budget), main: name, read: read,
		modes: map[string]fs.FileMode{name: mode}, bodies: map[string]body{},
	}
	l.Open = l.body
	root, errs := tree.Read(name, data, budget)
	l.Syntax("", errs)
	var s Source
	if root != nil {
		s.Root = l.Root(root, fileRow)
		s.Config, s.Drafts = l.config(s.Root)
	}
	ps := l.Problems()
	ps.Sort(name)
	if ps.Failed() {
		return Source{}, ps
	}
	return s, ps
}

// path is where a file that the configuration names is: relative to the main file.
func (l *loader) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.main), name)
}

// body reads a file with a connection's body, once.
func (l *loader) body(name string) (*tree.Request, []tree.Error, error) {
	path := l.path(name)
	b, ok := l.bodies[path]
	if !ok {
		var data []byte
		var mode fs.FileMode
		if data, mode, b.err = l.read(path, l.Budget.Bytes()); b.err == nil {
			l.modes[path] = mode
			b.root, b.errs = tree.ReadBody(path, data, l.Budget)
		} else {
			b.err = fmt.Errorf("%s", reason(b.err))
		}
		l.bodies[path] = b
	}
	return b.root, b.errs, b.err
}

// config makes a Config of the whole file.
func (l *loader) config(v *dialect.Value) (*Config, []*dialect.Draft) {
	if !v.OK() {
		return nil, nil
	}
	c := &Config{}
	for _, a := range v.Field("listen").Items() {
		if a.OK() {
			c.Listen = append(c.Listen, a.Addr())
		}
	}
	c.Packets = !v.Field("offload").Bool()
	c.NoFrames = !v.Field("raw_frames").Bool()
	if t := v.Field("threads"); t.Given && t.OK() {
		c.Threads = int(t.Int())
	}
	side := sides[v.Field("side").Text()]
	var drafts []*dialect.Draft
	used := names{}
	for i, entry := range v.Field("connections").Items() {
		if l.Full() {
			return nil, nil
		}
		d := l.connection(entry, i, dialect.Env{
			Side: side,
			VPN:  dialect.Gateways{Section: "vpn_gateways", Entries: v.Field("vpn_gateways").Entries()},
			Cust: dialect.Gateways{Section: "customer_gateways", Entries: v.Field("customer_gateways").Entries()},
		}, used)
		if d != nil {
			drafts = append(drafts, d)
			c.Connections = append(c.Connections, d.Connection)
		}
	}
	if l.Problems().Failed() {
		return nil, nil // what is not whole cannot be held against others
	}
	l.together(drafts)
	return c, drafts
}
