package test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors lists the packages by floor, top floor first. A package imports
// packages of lower floors only, not of its own or a higher floor.
var floors = [][]string{
	{"cmd/vpngw", "packaging/sbom"},                   // the command line; a program for who makes packages
	{"cmd/vpngw/watch"},                               // the tunnels in place on a terminal
	{"cmd/vpngw/show", "cmd/vpngw/man"},               // statuses as text; the manual pages
	{"cmd/vpngw/show/showtest"},                       // statuses of many tunnels, for tests
	{"control"},                                       // the control interface: HTTP on a Unix socket
	{"control/metrics", "control/page"},               // what the daemon counts, for Prometheus; the status page
	{"desired"},                                       // loads the configuration from its source and has the gateway adopt it
	{"gateway"},                                       // the running daemon: the loop, goroutines, timers and sockets
	{"config/export", "config/begin", "config/drift"}, // a configuration for other programs and for the other end; the first one; what a cloud's answer says against it
	{"config/explain", "config/schema", "doctor", "tryout", "support"}, // descriptions of a configuration; what is wrong with a tunnel; what a peer takes; what a support case needs
	{"tunnel", "ike", "esp", "host", "bgp", "config/load", "config/chosen"},
	{"config/native", "config/alibaba", "config/huawei", "config/tencent"}, // the dialects
	{"config/dialect"}, // tables, types and checks of any dialect
	{"ike/ikev1", "ike/ikev2", "ike/iketest", "config"}, // one IKE SA with its exchanges; the model of a connection
	{"ike/sa"}, // types of both IKE versions
	{"ike/wire", "esp/esptest", "ipsec/timingtest", "resolve"},                       // messages; the operating system, and the time of a call, for tests; addresses of names
	{"ipsec", "dpd", "diag", "schedule", "config/tree", "store", "capture", "lanes"}, // types that all packages share; records that survive a restart; files for Wireshark; ciphers, hashes and sums over wide registers
	{"lanes/gen", "ipsec/wycheproof"},                                                // writes the assembly of lanes; test vectors, for tests
}

// only names the one package that may import an outside package.
var only = map[string]string{
	"golang.org/x/sys/unix":           "host",
	"golang.org/x/net/dns":            "resolve",
	"github.com/vishvananda/netlink":  "host",
	"golang.zx2c4.com/wireguard/tun":  "host",
	"github.com/google/nftables":      "host",
	"github.com/mdlayher/netlink":     "host",
	"github.com/osrg/gobgp":           "bgp",
	"google.golang.org/grpc":          "bgp",
	"google.golang.org/protobuf":      "bgp",
	"github.com/goccy/go-yaml":        "config",
	"github.com/spf13/cobra":          "cmd",
	"github.com/coreos/go-systemd":    "cmd",
	"github.com/getkin/kin-openapi":   "control", // its tests alone
	"github.com/strongswan/govici":    "test",
	"github.com/gopacket/gopacket":    "test",
	"golang.org/x/crypto/cryptobyte":  "ike",
	"filippo.io/bigmod":               "ike/sa",
	"github.com/cloudflare/circl":     "ike/sa",
	"net/http":                        "control",
	"charm.land/bubbletea":            "cmd/vpngw/watch",
	"charm.land/lipgloss":             "nobody", // with it every command runs "tmux info" at its start in a tmux
	"github.com/charmbracelet":        "cmd/vpngw",
	"github.com/prometheus":           "control/metrics",
	"github.com/rogpeppe/go-internal": "cmd",
}

// pure packages take the time and randomness as arguments and start no goroutine.
var pure = []string{"ike", "ike/ikev1", "ike/ikev2", "ike/sa", "ike/wire", "ipsec", "dpd", "diag", "schedule", "tunnel"}

// source is one parsed Go file.
type source struct {
	dir, path string // relative to the module
	test      bool
	lines     int
	file      *ast.File
}

func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	fset := token.NewFileSet()
	var out []source
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != ".." && (name[0] == '.' || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		out = append(out, source{filepath.Dir(rel), rel, strings.HasSuffix(path, "_test.go"), bytes.Count(text, []byte("\n")), f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fset, out
}

// floor is the number of a package's floor, or -1.
func floor(dir string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, dir) })
}

// under reports whether path is dir or in it.
func under(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func TestImportsGoDownOnly(t *testing.T) {
	_, files := sources(t)
	for _, s := range files {
		if under(s.dir, "test") {
			continue
		}
		mine := floor(s.dir)
		if mine < 0 {
			t.Errorf("%s: package %s is on no floor: put it on one in test/layering_test.go and in ARCHITECTURE.md", s.path, s.dir)
			continue
		}
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if dir, ours := strings.CutPrefix(path, "vpngw/"); ours {
				if dir != s.dir && floor(dir) <= mine { // dir == s.dir: an external test
					t.Errorf("%s imports %s: imports go down only", s.path, dir)
				}
			}
			for module, owner := range only {
				if !s.test && under(path, module) && !under(s.dir, owner) {
					t.Errorf("%s imports %s: only %s does that", s.path, path, owner)
				}
			}
		}
	}
}

// Protocol code takes the time and randomness as arguments and starts no
// goroutine, so that its tests are transcripts that run without waiting. The
// packages below config start none either.
func TestProtocolReadsNoClock(t *testing.T) {
	forbidden := []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "rand.Reader", "rand.Read"}
	fset, files := sources(t)
	for _, s := range files {
		reads := !slices.Contains(pure, s.dir)
		if s.test || reads && !strings.HasPrefix(s.dir+"/", "config/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%v: starts a goroutine: only gateway does, and make test has no race detector here", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && !reads && slices.Contains(forbidden, x.Name+"."+n.Sel.Name) {
					t.Errorf("%v: %s.%s: it is handed in", fset.Position(n.Pos()), x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	_, files := sources(t)
	comments := map[string]int{} // by directory
	for _, s := range files {
		if s.test {
			continue
		}
		comments[s.dir] += 0
		if s.file.Doc == nil {
			continue
		}
		comments[s.dir]++
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + filepath.Base(s.dir) + " "
		}
		if text := s.file.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment begins %.30q, want %q", s.path, text, want)
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1", dir, n)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	const limit = 600
	_, files := sources(t)
	for _, s := range files {
		if s.lines > limit {
			t.Errorf("%s has %d lines: more than %d is two concerns", s.path, s.lines, limit)
		}
	}
}
