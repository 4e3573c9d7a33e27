package begin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/load"
	"vpngw/diag"
)

func pages(t *testing.T) map[string][]byte {
	t.Helper()
	out := bodies(t, "pages")
	if len(out) != 14 {
		t.Fatalf("%d pages, want 14", len(out))
	}
	return out
}

func bodies(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../load/testdata/" + dir + "/*.*")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		name := filepath.Base(path)
		if filepath.Ext(name) == ".golden" || strings.Contains(name, "created") { // these do not describe the connection
			continue
		}
		if out[name], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func noFiles(string, int) ([]byte, fs.FileMode, error) { return nil, 0, fs.ErrNotExist }

// typed is a user who answers each question of the kinds by a good answer, after a bad one and an empty line.
type typed struct {
	out  strings.Builder
	next int
}

// Read gives the answer to the last question in out, a line at a time.
func (u *typed) Read(p []byte) (int, error) {
	asked := u.out.String()
	question := asked[strings.LastIndex("\n"+asked, "\n"):]
	u.next++
	answer := map[string]string{
		"Public address of":   fmt.Sprintf("198.51.100.%d", u.next),
		"Public addresses of": "198.51.100.251,198.51.100.252",
		"BGP's AS number":     "65010",
		"Networks behind the": "10.99.0.0/16, 10.98.0.0/16",
		"Which end":           "",
	}
	for start, good := range answer {
		if !strings.HasPrefix(question, start) {
			continue
		}
		switch {
		case good == "" || strings.Contains(asked, "  There must") && strings.HasSuffix(asked, ".\n"+question):
			return copy(p, good+"\n"), nil
		case strings.HasSuffix(asked, "written.\n"+question):
			return copy(p, "nonsense\n"), nil
		}
		return copy(p, "\n"), nil
	}
	return 0, io.EOF
}

// Each page's body becomes, by questions, a configuration without an error, for either end.
func TestEachPageBecomesAConfiguration(t *testing.T) {
	becomeConfigurations(t, pages(t))
}

// So does what the clouds send, with several connections too.
func TestEachShapeBecomesAConfiguration(t *testing.T) {
	all := bodies(t, "shapes")
	// An answer of DescribeVpnConnections has no EnableBgp.
	all["alibaba-bgp.json"] = []byte(`{"VpnConnectionId": "vco-1", "VpnGatewayId": "vpn-1", "CustomerGatewayId": "cgw-1", "InternetIp": "198.51.100.1",
		"LocalSubnet": "0.0.0.0/0", "RemoteSubnet": "0.0.0.0/0", "IkeConfig": {"Psk": "Not-a-real-Secret.1"},
		"VpnBgpConfig": {"TunnelCidr": "169.254.11.0/30", "LocalAsn": 45104, "LocalBgpIp": "169.254.11.1"}}`)
	becomeConfigurations(t, all)
}

func becomeConfigurations(t *testing.T, all map[string][]byte) {
	for name, body := range all {
		for _, side := range []config.Side{config.Customer, config.Cloud} {
			t.Run(fmt.Sprintf("%s/%v", name, side), func(t *testing.T) {
				cloud, _, _ := strings.Cut(strings.TrimSuffix(name, filepath.Ext(name)), "-")
				if got := load.Guess(body); got != cloud {
					t.Fatalf("the dialect is guessed to be %q", got)
				}
				a := &Answers{Body: body, Side: side, Gateways: map[string]*Gateway{}, Customer: map[string]*Gateway{}}
				u := &typed{}
				term := &Terminal{In: bufio.NewReaderSize(u, 64), Out: &u.out, Secret: func() (string, error) { return "Not-a-real-Secret.1", nil }}
				if err := term.Ask(a); err != nil {
					t.Fatalf("%v after\n%s", err, u.out.String())
				}
				if strings.Contains(u.out.String(), "real-Secret") {
					t.Error("it shows the key")
				}
				a.Fill()
				files, ps := a.Files("/etc/vpngw/vpngw.yaml", noFiles, load.Options{})
				if files == nil {
					t.Fatalf("%v\n%s", ps, u.out.String())
				}
				for _, p := range ps {
					if p.Refused && !strings.Contains(p.Message, "are the same: no route") { // an example of a page
						t.Errorf("run would refuse it: %v", p)
					}
				}
				if text := files[len(files)-1]; text.Path != "/etc/vpngw/vpngw.yaml" || strings.Contains(string(text.Data), "real-Secret") {
					t.Errorf("the last file is %s:\n%s", text.Path, text.Data)
				}
				if string(files[0].Data) != string(body) {
					t.Error("the body is not kept as it was")
				}
			})
		}
	}
}

// A wrong answer is named at once, and asked again.
func TestAWrongAnswerIsAskedAgain(t *testing.T) {
	var out strings.Builder
	in := "198.51.100\n198.51.100.1\n192.168.3.1/24\n\n192.168.3.0/24\n10.0.0.0/8\n"
	a := &Answers{Native: &Native{Remote: netip.MustParseAddr("198.51.100.9")}}
	keys := []string{"", "Not-a-real-Secret.1"}
	term := &Terminal{In: bufio.NewReader(strings.NewReader(in)), Out: &out, Secret: func() (string, error) {
		key := keys[0]
		keys = keys[1:]
		return key, nil
	}}
	if err := term.Ask(a); err != nil {
		t.Fatalf("%v after\n%s", err, out.String())
	}
	for _, want := range []string{
		`"198.51.100" is not the address of a host, such as 198.51.100.1.`, "the network is 192.168.3.0/24.", "There must be an answer", "A key has one character at least.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if files, ps := a.Files("vpngw.yaml", noFiles, load.Options{}); files == nil {
		t.Error(ps)
	}
	if err := term.Ask(&Answers{}); !errors.Is(err, errEnded) {
		t.Errorf("at the end of the input: %v", err)
	}
}

// What a body is, is asked where its keys do not say it; a body with an error is refused at once.
func TestABodyIsPastedOrNamed(t *testing.T) {
	var out strings.Builder
	in := "{\"LocalSubnet\": \n\nnosuchfile\n" +
		"{\"VpnConnectionName\": \"a\", \"VpnGatewayId\": \"g\", \"CustomerGatewayId\": \"c\", \"Nonsense\": 1}\n" +
		"{\"LocalSubnet\": \"10.0.0.0/8\",\n \"RemoteSubnet\": \"192.168.3.0/24\", \"RegionId\": \"r\",\n\"VpnGatewayId\": \"198.51.100.1\", \"CustomerGatewayId\": \"203.0.113.9\"}\ncloud\n"
	term := &Terminal{
		In: bufio.NewReader(strings.NewReader(in)), Out: &out,
		ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
		Secret:   func() (string, error) { return "Not-a-real-Secret.1", nil },
		Warn:     func(ps diag.Problems, w io.Writer) { ps.Write(w) },
	}
	a := &Answers{}
	if err := term.Ask(a); err != nil {
		t.Fatalf("%v after\n%s", err, out.String())
	}
	for _, want := range []string{"this JSON is not complete", "file does not exist", `there is no key "Nonsense"`, "It is of alibaba.", "Which end"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if a.Side != config.Cloud || a.dialect().Name != "alibaba" {
		t.Errorf("side %v, dialect %v", a.Side, a.dialect())
	}
	if files, ps := a.Files("vpngw.yaml", noFiles, load.Options{}); files == nil {
		t.Error(ps)
	}
}

// An id, a name or a key may hold anything; the file says it so that it is read as the same.
func TestAnythingStandsInTheFileAsItIs(t *testing.T) {
	for _, id := range []string{"yes", "0x10", "a: b", "#", "1e3", "- x", "'", `"`, "a\tb", "{}", "~", "null", "*x", "&x", "!x", "%", "@", "`"} {
		a := &Answers{
			Body:     fmt.Appendf(nil, `{"LocalSubnet": "10.0.0.0/8", "RemoteSubnet": "192.168.3.0/24", "RegionId": "r", "VpnGatewayId": %q, "CustomerGatewayId": "203.0.113.9", "IkeConfig": {"Psk": "x"}}`, id),
			Gateways: map[string]*Gateway{id: {Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}},
		}
		if needs := a.Needs(); len(needs) > 0 {
			t.Errorf("%q: %v", id, needs)
		}
		if files, ps := a.Files("vpngw.yaml", noFiles, load.Options{}); files == nil {
			t.Errorf("%q: %v", id, ps)
		}
	}
}

// What a configuration refuses as an AS number is refused when it is asked for.
func TestNumbersOfAS(t *testing.T) {
	for s, ok := range map[string]bool{"65010": true, "4294967295": true, "1.10": true, "0.1": true, "0": false, "0.0": false, "4294967296": false, "1.65536": false, "a": false, "": false, "1.": false, "1.2.3": false} {
		if got, err := AS(s); (err == nil) != ok || ok && got != s {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
}

// Where an address of the other end is asked for, its name will do, and the file has the name.
func TestANameInPlaceOfAnAddress(t *testing.T) {
	for _, c := range []struct {
		text, host string
		ok         bool
	}{
		{"gw.example.net", "gw.example.net", true},
		{"GW.Example.NET.", "gw.example.net", true},
		{"198.51.100.1", "", true},
		{"::ffff:198.51.100.1", "", true},
		{"localhost", "", false},
		{"198.51.100.300", "", false},
		{"gw.example.net,gw2.example.net", "", false},
		{"gw..example.net", "", false},
		{"gw example.net", "", false},
		{"https://gw.example.net", "", false},
		{"224.0.0.1", "", false},
		{"", "", false},
		{strings.Repeat("a.", 130) + "net", "", false},
	} {
		a, host, err := Place(c.text)
		if host != c.host || (err == nil) != c.ok || c.ok && a.IsValid() == (host != "") {
			t.Errorf("%q: %v, %q, %v", c.text, a, host, err)
		}
	}
	native := &Answers{PSKs: []string{"Not-a-real-Secret.1"}, Native: &Native{
		Local: netip.MustParseAddr("203.0.113.9"), RemoteHost: "gw.example.net",
		LocalNets: []netip.Prefix{netip.MustParsePrefix("192.168.3.0/24")}, RemoteNets: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/16")},
	}}
	cloud := &Answers{
		Body: anyOf(t, "tencent"), Routes: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/16")},
		Gateways: map[string]*Gateway{}, Customer: map[string]*Gateway{},
	}
	for _, n := range cloud.Needs() {
		if n.Kind == Address && n.Cloud {
			cloud.Gateways[n.ID] = &Gateway{}
			if err := cloud.Gateways[n.ID].Place("gw.example.net"); err != nil {
				t.Fatal(err)
			}
		} else if n.Kind == Address {
			cloud.Customer[n.ID] = &Gateway{Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}
		} else {
			t.Fatalf("it needs %+v", n)
		}
	}
	for _, a := range []*Answers{native, cloud} {
		if needs := a.Needs(); len(needs) > 0 {
			t.Fatalf("still needs %+v", needs)
		}
		a.Fill()
		files, ps := a.Files("/etc/vpngw/vpngw.yaml", noFiles, load.Options{})
		if files == nil {
			t.Fatal(ps)
		}
		if text := string(files[len(files)-1].Data); !strings.Contains(text, "{address: gw.example.net") {
			t.Errorf("the file is\n%s", text)
		}
	}
}

// On a terminal too only the other end may have a name: this end's is refused when it is typed, not when everything has been asked.
func TestThisEndHasNoName(t *testing.T) {
	for side, in := range map[config.Side]string{
		config.Customer: "gw.example.net\noffice.example.net\n203.0.113.9\n",
		config.Cloud:    "gw.example.net\n198.51.100.1\noffice.example.net\n",
	} {
		var out strings.Builder
		a := &Answers{
			Side: side, Body: anyOf(t, "tencent"), Routes: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/16")},
			Gateways: map[string]*Gateway{}, Customer: map[string]*Gateway{},
		}
		term := &Terminal{In: bufio.NewReader(strings.NewReader(in)), Out: &out}
		if err := term.Ask(a); err != nil {
			t.Fatalf("%s: %v after\n%s", side, err, out.String())
		}
		if got := out.String(); strings.Count(got, "or its name") != 1 || strings.Count(got, "is not the address of a host") != 1 {
			t.Errorf("%s: it asks\n%s", side, got)
		}
		if files, ps := a.Files("vpngw.yaml", noFiles, load.Options{}); files == nil {
			t.Error(side, ps)
		}
	}
}

func anyOf(t *testing.T, cloud string) []byte {
	for name, body := range pages(t) {
		if strings.HasPrefix(name, cloud) {
			return body
		}
	}
	t.Fatal("there is none")
	return nil
}
