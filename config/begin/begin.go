// Package begin writes a first configuration: it finds the dialect of a cloud's body, says
// what the body leaves open, and makes the files of the answers. It has no other effect.
package begin

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"vpngw/config"
	"vpngw/config/dialect"
	"vpngw/config/load"
	"vpngw/config/native"
	"vpngw/config/tree"
	"vpngw/diag"
)

// Answers are what the user has said. The zero value has said nothing.
type Answers struct {
	Dialect  string // empty: as the body's keys say
	Body     []byte // the cloud's body, verbatim
	Name     string // of the connection; empty: the body's
	Side     config.Side
	Gateways map[string]*Gateway // of the cloud, by id
	Customer map[string]*Gateway // of the customer, by id
	Listen   []netip.Addr
	Routes   []netip.Prefix // nil: nothing is said
	PSKs     []string       // one for each tunnel, or one for all
	PSKFiles []string       // files that hold them, in place of PSKs
	Native   *Native        // for a connection that no cloud's body describes
}

// Gateway is what the user says of a gateway.
type Gateway struct {
	Addresses []netip.Addr // one, or that of the master and of the slave
	Host      string       // its name, in place of one address
	ASN       string
}

// Native are the two ends of a connection in vpngw's own words.
type Native struct {
	Local, Remote         netip.Addr
	RemoteHost            string // a name, in place of Remote
	LocalID, RemoteID     string // empty: the address
	LocalNets, RemoteNets []netip.Prefix
	IKEVersion            string // empty: 2
}

// Dialects are the clouds whose bodies are known.
func Dialects() []string {
	var out []string
	for _, d := range load.Dialects() {
		if d.Name != native.Name {
			out = append(out, d.Name)
		}
	}
	return out
}

// body is the body as the tables of its dialect read it, with what is wrong with it.
func (a *Answers) body() (*dialect.Value, diag.Problems) {
	d := a.dialect()
	if d == nil {
		return nil, diag.Problems{{Severity: diag.Error, Code: "vpngw.config.missing", Message: "its keys do not say which cloud's it is; say it with --dialect " + strings.Join(Dialects(), "|")}}
	}
	budget := tree.NewBudget()
	req, errs := tree.ReadBody("body", a.Body, budget)
	c := dialect.NewCheck(budget)
	c.Syntax("", errs)
	if req == nil || req.Root == nil {
		return nil, c.Problems()
	}
	v := c.Root(req.Root, &dialect.Row{Type: dialect.Request{Dialect: d}})
	return v, c.Problems()
}

func (a *Answers) dialect() *dialect.Dialect {
	name := a.Dialect
	if name == "" {
		name = load.Guess(a.Body)
	}
	if name == native.Name {
		return nil
	}
	return load.DialectOf(name)
}

// Check says what is wrong with the body; nil: it can be read.
func (a *Answers) Check() diag.Problems {
	v, ps := a.body()
	if ps.Failed() {
		return ps
	}
	if !v.OK() {
		return diag.Problems{{Severity: diag.Error, Code: "vpngw.config.missing", Message: "there is no connection in it"}}
	}
	return nil
}

// File is a file to be written.
type File struct {
	Path string
	Data []byte
}

// Files are the files of a configuration at path, the configuration last. ps is what a load of
// them says; there are none if it has an error. read reads the files that the user named.
func (a *Answers) Files(path string, read load.ReadFile, o load.Options) (files []File, ps diag.Problems) {
	dir := filepath.Dir(path)
	name, say := a.name()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by `vpngw init`. `vpngw check -c FILE` says what is wrong with it, and")
	line("# `vpngw explain -c FILE` what each value is and where it comes from.")
	line("version: 1")
	line("side: %s", a.Side)
	if len(a.Listen) > 0 {
		line("listen: [%s]", texts(a.Listen))
	}
	if a.Native == nil {
		section(line, "vpn_gateways", a.Gateways)
		section(line, "customer_gateways", a.Customer)
	}
	line("connections:")
	if n := a.Native; n != nil {
		version := n.IKEVersion
		if version == "" {
			version = "2"
		}
		line("  - native:")
		line("      ike_version: %s", version)
		line("      local:  %s", end(text(n.Local), n.LocalID, n.LocalNets))
		remote := tree.Written(n.RemoteHost)
		if n.RemoteHost == "" {
			remote = text(n.Remote)
		}
		line("      remote: %s", end(remote, n.RemoteID, n.RemoteNets))
	} else {
		file := name + ".txt"
		if json.Valid(a.Body) {
			file = name + ".json"
		}
		if file == filepath.Base(path) {
			file = "body-" + file
		}
		files = append(files, File{filepath.Join(dir, file), a.Body})
		line("  - %s: %s", a.dialect().Name, tree.Written(file))
	}
	if say {
		line("    name: %s", tree.Written(name))
	}
	if keys := a.keys(dir, name, &files); len(keys) == 1 {
		line("    psk_file: %s", tree.Written(keys[0]))
	} else if len(keys) > 1 {
		line("    psk_file: [%s]", list(keys))
	}
	if a.Routes != nil {
		line("    routes: [%s]", texts(a.Routes))
	}
	files = append(files, File{path, []byte(b.String())})

	made := func(name string, limit int) ([]byte, fs.FileMode, error) {
		for _, f := range files {
			if f.Path == name {
				return f.Data, 0o600, nil
			}
		}
		return read(name, limit)
	}
	r, ps := load.Text(path, []byte(b.String()), made, o)
	if r == nil {
		return nil, ps
	}
	return files, ps
}

// keys are the names of the files with the pre-shared keys; those of typed keys are added to files.
func (a *Answers) keys(dir, name string, files *[]File) []string {
	if len(a.PSKFiles) > 0 {
		return a.PSKFiles
	}
	var out []string
	for i, psk := range a.PSKs {
		file := name + ".psk"
		if len(a.PSKs) > 1 {
			file = fmt.Sprintf("%s-%d.psk", name, i+1)
		}
		*files = append(*files, File{filepath.Join(dir, file), []byte(psk + "\n")})
		out = append(out, file)
	}
	return out
}

// name is the connection's name, and whether the file must say it.
func (a *Answers) name() (string, bool) {
	if a.Name != "" {
		return a.Name, true
	}
	if a.Native != nil {
		return "vpn", true
	}
	v, _ := a.body()
	if v.OK() {
		for _, row := range []string{"Name", "name", "VpnConnectionName"} {
			if v.Has(row) && v.Field(row).Text() != "" {
				given := v.Field(row).Text()
				safe := config.SafeName(given)
				return safe, safe != given
			}
		}
	}
	return a.dialect().Name + "-1", true
}

func section(line func(string, ...any), name string, gs map[string]*Gateway) {
	var ids []string
	for id := range gs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for i, id := range ids {
		if i == 0 {
			line("%s:", name)
		}
		g, asn := gs[id], ""
		if g.ASN != "" {
			asn = ", asn: " + g.ASN
		}
		if len(g.Addresses) == 2 {
			line("  %s: {addresses: {master: %v, slave: %v}%s}", tree.Written(id), text(g.Addresses[0]), text(g.Addresses[1]), asn)
		} else if g.Host != "" {
			line("  %s: {address: %v%s}", tree.Written(id), tree.Written(g.Host), asn)
		} else if len(g.Addresses) == 1 {
			line("  %s: {address: %v%s}", tree.Written(id), text(g.Addresses[0]), asn)
		}
	}
}

func end(a, id string, nets []netip.Prefix) string {
	if id != "" {
		id = "id: " + tree.Written(id) + ", "
	}
	return fmt.Sprintf("{address: %s, %ssubnets: [%s]}", a, id, texts(nets))
}

// text is an address in YAML: one of IPv6 can hold ": " or begin with a colon.
func text(a netip.Addr) string { return tree.Written(a.String()) }

func texts[T fmt.Stringer](ts []T) string {
	var out []string
	for _, t := range ts {
		out = append(out, t.String())
	}
	return list(out)
}

func list(ss []string) string {
	var out []string
	for _, s := range ss {
		out = append(out, tree.Written(s))
	}
	return strings.Join(out, ", ")
}
