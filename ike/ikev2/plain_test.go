package ikev2

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"vpngw/ike/sa"
	"vpngw/ipsec"
)

// TestFrozenIsPlainData: a Frozen has no function, interface, pointer, map or unexported field.
func TestFrozenIsPlainData(t *testing.T) {
	values := map[reflect.Type]bool{
		reflect.TypeFor[time.Time](): true, reflect.TypeFor[netip.Addr](): true, reflect.TypeFor[netip.AddrPort](): true, reflect.TypeFor[netip.Prefix](): true,
	}
	seen := map[reflect.Type]bool{}
	var look func(typ reflect.Type, path string)
	look = func(typ reflect.Type, path string) {
		if values[typ] || seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Func, reflect.Interface, reflect.Pointer, reflect.Chan, reflect.UnsafePointer, reflect.Map:
			t.Errorf("%s is a %v", path, typ.Kind())
		case reflect.Slice, reflect.Array:
			look(typ.Elem(), path)
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				if !f.IsExported() {
					t.Errorf("%s.%s is not exported", path, f.Name)
				}
				look(f.Type, path+"."+f.Name)
			}
		}
	}
	look(reflect.TypeFor[Frozen](), "Frozen")
}

// TestFrozenKeysDoNotPrint: no key is in the text or the JSON of a Frozen.
func TestFrozenKeysDoNotPrint(t *testing.T) {
	secrets := map[string]ipsec.Secret{}
	play(t, nil, script{do: func(w *world) {
		w.a.current().RekeyIKE(w.now, asked)
		w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
	}}, false, func(w *world) {
		for _, h := range [...]*host{w.a, w.b} {
			f := Freeze(h.machines, func(*sa.Peer) string { return "" })
			clear(secrets)
			secrets["pre-shared key"] = h.peer.PSK
			for _, s := range f.SAs {
				for n, k := range []ipsec.Secret{s.Keys.D, s.Keys.AI, s.Keys.AR, s.Keys.EI, s.Keys.ER, s.Keys.PI, s.Keys.PR, s.DH.Private, s.Open.DH.Private} {
					secrets[fmt.Sprint("IKE ", n)] = k
				}
			}
			for _, fam := range f.Families {
				for _, c := range fam.Children {
					secrets["ESP in"], secrets["ESP out"] = c.SA.In.Encr, c.SA.Out.Encr
				}
			}
			j, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			text := string(j)
			for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%q"} {
				text += fmt.Sprintf(verb, f)
			}
			for name, s := range secrets {
				if len(s) == 0 {
					continue
				}
				for _, form := range []string{string(s), base64.StdEncoding.EncodeToString(s), fmt.Sprintf("%x", []byte(s)), fmt.Sprint([]byte(s))} {
					if strings.Contains(text, form) {
						t.Fatalf("a Frozen gives the %s away", name)
					}
				}
			}
		}
	})
}

// TestThawRefusesWhatDoesNotFit breaks one reference or value of a Frozen at a time.
func TestThawRefusesWhatDoesNotFit(t *testing.T) {
	w := newWorld(t, nil)
	w.start()
	w.run(time.Second)
	w.a.current().RekeyChildren(w.now, w.a.peer.Children[0], asked)
	freeze := func() Frozen { return Freeze(w.a.machines, func(*sa.Peer) string { return "peer" }) }
	find := func(key string) *sa.Peer {
		if key == "peer" {
			return w.a.peer
		}
		return nil
	}
	if _, err := Thaw(w.a.env, freeze(), find); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(f *Frozen){
		"a peer that nobody knows":       func(f *Frozen) { f.SAs[0].Peer.Key = "another" },
		"a family's peer":                func(f *Frozen) { f.Families[0].Peer.Key = "another" },
		"a family that is not there":     func(f *Frozen) { f.SAs[0].Family = 1 },
		"a negative family":              func(f *Frozen) { f.SAs[0].Family = -1 },
		"the same IKE SA twice":          func(f *Frozen) { f.SAs = append(f.SAs, f.SAs[0]) },
		"keys of another length":         func(f *Frozen) { f.SAs[0].Keys.EI = f.SAs[0].Keys.EI[1:] },
		"a suite that is not supported":  func(f *Frozen) { f.SAs[0].Suite.PRF.ID = 99 },
		"an exchange of no kind":         func(f *Frozen) { f.SAs[0].Open.Kind = "?" },
		"a rekey without its child":      func(f *Frozen) { f.SAs[0].Open.Child = 0 },
		"a child that is not there":      func(f *Frozen) { f.SAs[0].Open.Child = 9 },
		"a rival that is not there":      func(f *Frozen) { f.SAs[0].Open.Rival = -1 },
		"a successor that is not there":  func(f *Frozen) { f.Families[0].Children[0].Successor = 7 },
		"a private value that is none":   func(f *Frozen) { f.SAs[0].Open.DH.Private = ipsec.Secret("short") },
		"a Child SA that serves nothing": func(f *Frozen) { f.Families[0].Children[0].Config = sa.FrozenChild{} },
		"a create that serves nothing":   func(f *Frozen) { f.SAs[0].Queue = []FrozenTask{{Kind: kindCreateChild}} },
	} {
		f := freeze()
		spoil(&f)
		if _, err := Thaw(w.a.env, f, find); err == nil {
			t.Errorf("%s: thawed", what)
		}
	}
}

// TestOnlyLivingIKEv2IsFrozen: Freeze leaves out dead machines and machines of IKEv1.
func TestOnlyLivingIKEv2IsFrozen(t *testing.T) {
	w := newWorld(t, nil)
	w.start()
	w.run(time.Second)
	dead := w.a.machines[0]
	dead.Drop(w.now, asked)
	if f := Freeze([]sa.Machine{dead, stranger{}}, func(*sa.Peer) string { return "peer" }); len(f.SAs) != 0 || len(f.Families) != 0 {
		t.Errorf("frozen: %+v", f)
	}
}

type stranger struct{ sa.Machine }
