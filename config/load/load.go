// Package load turns a file into a config.Config and has no other effect.
//
// Package tree reads the file and remembers where everything stands. The tables of
// package dialect check it, strictly, and collect every problem at once. The
// connection's dialect (native, or a cloud's) turns its body into a Draft, and what
// stands beside the body changes that. At last the connections are checked against
// each other. Nothing here is specific to a cloud.
package load

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/tree"
	"vpngw/diag"
)

// Options say what a load needs to know of the daemon.
type Options struct {
	// Unserved names what a connection asks for and the daemon does not serve. A
	// connection that does not accept that with `partial: true` can't be run. Nil: nothing
	// is asked.
	Unserved func(*config.Connection) config.Features
}

// Result is a Config and what it was made of.
type Result struct {
	*config.Config
	Root   *dialect.Value   // the whole file
	Drafts []*dialect.Draft // of the connections, in their order
	Source *Source          // what was read; nil where a text was loaded
}

// ReadFile reads a file of at most limit bytes and tells its mode. The mode 0
// means that it is not known.
type ReadFile func(name string, limit int) ([]byte, fs.FileMode, error)

// File loads the file at path and the files that it names. The Result is nil if and
// only if one of the problems is an error; warnings come with a Result.
func File(path string, o Options) (*Result, diag.Problems) {
	budget, places := tree.NewBudget(), newPlaces()
	data, mode, err := places.readFile(path, budget.Bytes(), true)
	if err != nil {
		code := "vpngw.config.unreadable"
		if errors.As(err, new(*dialect.ExposedError)) {
			code = "vpngw.config.exposed"
		}
		return nil, diag.Problems{{Severity: diag.Error, Code: code, File: path, Message: reason(err).Error()}}
	}
	source := &Source{Name: path, Files: map[string]SourceFile{}}
	source.add(path, mode, data)
	regular := func(name string, limit int) ([]byte, fs.FileMode, error) {
		data, mode, err := places.readFile(name, limit, false)
		if err == nil {
			source.add(name, mode, data)
		}
		return data, mode, err
	}
	r, problems := load(path, data, mode, regular, budget, o)
	if r != nil {
		source.compact()
		r.Source = source
	}
	return r, problems
}

// Text loads a text that is called name. The files that it names are read with read.
func Text(name string, data []byte, read ReadFile, o Options) (*Result, diag.Problems) {
	return load(name, data, 0, read, tree.NewBudget(), o)
}

// loader is one load.
type loader struct {
	*dialect.Check
	Options
	fileReader
	names
}

func load(name string, data []byte, mode fs.FileMode, read ReadFile, budget *tree.Budget, o Options) (*Result, diag.Problems) {
	l := &loader{
		Check: dialect.NewCheck(budget), Options: o, names: names{map[string]string{}, map[string]string{}, map[string]string{}},
		fileReader: fileReader{
			main: name, read: read, budget: budget,
			modes: map[string]fs.FileMode{name: mode}, bodies: map[string]body{},
		},
	}
	l.Open = l.body
	root, errs := tree.Read(name, data, budget)
	if what := foreign(data, root); what != "" {
		return nil, diag.Problems{{Severity: diag.Error, Code: "vpngw.config.type", File: name, Line: 1, Column: 1, Message: what}}
	}
	l.Syntax("", errs)
	var r *Result
	if root != nil {
		r = l.config(l.Root(root, fileRow))
	}
	ps := l.Problems()
	ps.Sort(name)
	if ps.Failed() {
		return nil, ps
	}
	return r, ps
}

// foreign says what the file is if it is something else altogether: another program's, or a body without a file around it.
func foreign(data []byte, root *tree.Node) string {
	ours := false
	if root != nil && root.Kind == tree.Map {
		for key := range root.Pairs() {
			if key.Text == "connections" {
				return ""
			}
			ours = ours || key.Text == "version"
		}
	}
	if what := dialect.ForeignKeys(root); what != "" || ours { // a Compose file has a version too
		return what
	}
	if what := dialect.Foreign(string(data)); what != "" {
		return what
	}
	if cloud := Guess(data); cloud != "" {
		return fmt.Sprintf("this is a request or an answer of %s's API, and no file of vpngw: name it in one, such as  {version: 1, connections: [{%s: FILE}]}", cloud, cloud)
	}
	return ""
}

// config makes a Config of the whole file.
func (l *loader) config(v *dialect.Value) *Result {
	if !v.OK() {
		return nil
	}
	r := &Result{Config: &config.Config{Startup: startup(v), Metrics: l.metrics(v.Field("metrics"))}, Root: v}
	side := sides[v.Field("side").Text()]
	for i, entry := range v.Field("connections").Items() {
		if l.Full() {
			return nil
		}
		ds := l.entry(entry, i, dialect.Env{
			Side: side,
			VPN:  dialect.Gateways{Section: "vpn_gateways", Entries: v.Field("vpn_gateways").Entries()},
			Cust: dialect.Gateways{Section: "customer_gateways", Entries: v.Field("customer_gateways").Entries()},
		})
		for _, d := range ds {
			r.Drafts = append(r.Drafts, d)
			r.Connections = append(r.Connections, d.Connection)
		}
	}
	gateways := v.Field("vpn_gateways").Entries()
	l.pairs(gateways, v.Field("connections").Items(), r.Drafts)
	l.failover(r.Drafts)
	l.balance(gateways, r.Drafts)
	for _, d := range r.Drafts {
		l.sessions(d)
		for i := range d.Tunnels {
			l.sharedSpace(&d.Places[i], d, &d.Tunnels[i])
		}
		l.partial(d)
	}
	if l.Problems().Failed() {
		return nil // a connection with an error can't be checked against others
	}
	l.crossCheck(r.Drafts)
	ownStrings(reflect.ValueOf(r.Config).Elem(), map[string]string{})
	return r
}

// startup are the settings of the daemon itself.
func startup(v *dialect.Value) config.Startup {
	s := config.Startup{
		Packets:         !v.Field("offload").Bool(),
		NoFrames:        !v.Field("raw_frames").Bool(),
		AcceptCleartext: !v.Field("discard_cleartext").Bool(),
		Threads:         int(v.Field("threads").Int()), // 0 when it is absent
	}
	var listen []netip.Addr
	for _, a := range v.Field("listen").Items() {
		if a.OK() {
			listen = append(listen, a.Addr())
		}
	}
	s.Listen = config.AddrsOf(listen...)
	return s
}
