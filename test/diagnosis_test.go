package test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"

	"vpngw/diag"
)

// causeWords are names that a field, parameter or result has when it carries a cause.
var causeWords = []string{"why", "cause", "reason", "fault", "trouble"}

// A cause is a diag.Cause everywhere. Package diag alone makes its sentence, so
// that programs can rely on its code.
func TestNoCauseTravelsAsText(t *testing.T) {
	fset, files := sources(t)
	for _, s := range files {
		if s.test || s.dir == "diag" || strings.HasPrefix(s.dir, "test") {
			continue
		}
		check := func(list *ast.FieldList) {
			if list == nil {
				return
			}
			for _, f := range list.List {
				if id, ok := f.Type.(*ast.Ident); !ok || id.Name != "string" {
					continue
				}
				for _, n := range f.Names {
					if slices.Contains(causeWords, strings.ToLower(n.Name)) {
						t.Errorf("%v: %s is a string: a cause is a diag.Cause", fset.Position(n.Pos()), n.Name)
					}
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.StructType:
				check(n.Fields)
			case *ast.FuncType:
				check(n.Params)
				check(n.Results)
			}
			return true
		})
	}
}

// provokers are the packages whose tests provoke causes with messages, bodies
// and states of the kernel.
var provokers = []string{"bgp", "ike", "ike/ikev1", "ike/ikev2", "tunnel", "gateway", "desired", "host", "config/load", "doctor", "test"}

// Some test provokes each cause: it sends a message, loads a body or changes the
// state of a host, and compares the code of the result. A code in a literal of a
// Cause is constructed and does not count.
func TestEveryCauseIsProvoked(t *testing.T) {
	names := map[string]diag.Code{} // of the constants
	_, files := sources(t)
	provoked := map[string]bool{}
	for _, s := range files {
		if s.dir == "diag" && !s.test {
			for _, d := range s.file.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.CONST {
					continue
				}
				for _, spec := range g.Specs {
					v := spec.(*ast.ValueSpec)
					if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
						lit := v.Values[0].(*ast.BasicLit)
						names[v.Names[0].Name] = diag.Code(strings.Trim(lit.Value, `"`))
					}
				}
			}
		}
		if !s.test || !slices.Contains(provokers, s.dir) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if sel, ok := n.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Cause" {
					return false // constructed
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "diag" {
					provoked[n.Sel.Name] = true
				}
			}
			return true
		})
	}
	if len(names) != len(diag.Table) {
		t.Errorf("package diag has %d codes and %d rows", len(names), len(diag.Table))
	}
	for name, code := range names {
		if !provoked[name] {
			t.Errorf("no test provokes %s (diag.%s)", code, name)
		}
	}
}
