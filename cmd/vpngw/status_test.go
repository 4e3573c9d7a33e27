package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vpngw/control"
	"vpngw/desired"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// What the commands that show tunnels print, of a daemon with a connection hq, a connection lab of two tunnels, and one
// whose name could move the cursor.
func TestCommandsThatShowTunnels(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	up := func(name string) gateway.TunnelStatus {
		return gateway.TunnelStatus{Name: name, Role: "single", Active: true, State: tunnel.Up, Since: time.Now(), Remote: "198.51.100.1"}
	}
	lab2 := up("lab-2")
	lab2.Role, lab2.Active = "standby", false
	hq := up("hq")
	hq.IKE = &gateway.IKEStatus{Version: 2, State: "established", Proposal: "aes256-sha1-prfsha1-modp1024"}
	hq.Children = []gateway.ChildStatus{{Proposal: "aes128gcm16", LocalTS: []string{"192.168.3.0/24"}, RemoteTS: []string{"10.10.0.0/16"}}}
	d := &canned{status: desired.Status{Status: gateway.Status{Connections: []gateway.ConnectionStatus{
		{Name: "hq", Tunnels: []gateway.TunnelStatus{hq}},
		{Name: "lab", Tunnels: []gateway.TunnelStatus{up("lab"), lab2}},
		{Name: "ev\x1bil", Tunnels: []gateway.TunnelStatus{up("ev\x1bil")}},
	}}}}
	s := control.Serve(l, d, "test", slog.New(slog.DiscardHandler))
	defer s.Close()
	for _, c := range []struct {
		line     string
		code     int
		out, not string
		stderr   string
	}{
		{"status", 0, `(?s)\nlab-2 .*\+ up \(standby\).*\n4 tunnels: 4 up\n$`, `\x1b`, ""},
		{"status lab", 0, `(?s)^lab: \+ up for .*\n  dropped     12 no-sa\n.*\nlab-2: \+ up for `, `hq`, ""},
		{"status lab-2", 0, `^lab-2: \+ up for `, `(?m)^lab:`, ""},
		{"status hq", 0, `(?s)\n  IKE SA      IKEv2, established, aes256-sha1!-prfsha1!-modp1024!\n.*\n  Child SA    192\.168\.3\.0/24 === 10\.10\.0\.0/16\n`, `doctor`, ""},
		{"status hq --json", 0, `"name": "hq"`, `lab`, ""},
		{"status hg", 1, ``, `.`, `there is no connection "hg"; there is hq, lab`},
		{"status --color always", 0, `\x1b\[32m\+ up`, ``, ""},
		{"status --color never", 0, `\+ up`, `\x1b`, ""},
		{"status --color blue", 2, ``, `.`, `auto, always, never`},
		{"status --watch", 2, ``, `.`, `needs a terminal`},
		{"status --watch --json", 2, ``, `.`, `give one of the two`},
		{"status --drops lab", 0, `tunnel lab  no-sa  12\n$`, `IKE`, ""},
		{"counters", 0, `tunnel lab  no-sa        12\npackets dropped: 0, of them 0 by the kernel; messages refused: 3\n$`, ``, ""},
		{"counters lab", 0, `tunnel lab  no-sa  12\npackets dropped: 12\n$`, `IKE`, ""},
		{"counters --json", 0, `"unknown-spi": 2`, `packets dropped`, ""},
		{"counters hg", 1, ``, `.`, `there is no connection "hg"`},
		{"__complete up lab-", 0, "^lab-2\ttunnel, up\n:4\n$", ``, ``},
		{"__complete counters ", 0, "^hq\tup\nlab\tconnection of 2 tunnels\nlab-2\ttunnel, up\n:4\n$", ``, ``},
		{"__complete events hq ", 0, `^:4\n$`, ``, ``},
		{"__complete --control none events zz-no-such", 0, `^:4\n$`, ``, ``},
	} {
		var stdout, stderr strings.Builder
		words := strings.Split(c.line, " ")
		if !strings.HasPrefix(c.line, "__complete --") {
			words = append([]string{words[0], "--control", socket}, words[1:]...)
		}
		code := vpngw(words, &stdout, &stderr)
		complaint := stderr.String()
		if strings.HasPrefix(c.line, "__complete") {
			complaint = "" // what the shell's script prints where it is debugged
		}
		switch out := stdout.String(); {
		case code != c.code,
			!regexp.MustCompile(c.out).MatchString(out),
			c.not != "" && regexp.MustCompile(c.not).MatchString(out),
			c.stderr == "" && complaint != "", !strings.Contains(complaint, c.stderr):
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.line, code, c.code, out, &stderr)
		}
	}
}

// A status that is handed on as the daemon wrote it reads as one that was decoded and written again.
func TestAStatusHandedOn(t *testing.T) {
	for _, name := range []string{"hq", "a<b>&c", "ev\x1bil", `back\u003cslash`, "ünter"} {
		st := desired.Status{Status: gateway.Status{Connections: []gateway.ConnectionStatus{{Name: name, Tunnels: []gateway.TunnelStatus{{Name: name, Remote: "198.51.100.1"}}}}}}
		text, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		var got, want bytes.Buffer
		if err := printText(&got, append(text, '\n')); err != nil {
			t.Fatal(err)
		}
		if err := printJSON(&want, st); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%q: got\n%s\nwant\n%s", name, got.String(), want.String())
		}
	}
	if err := printText(new(bytes.Buffer), json.RawMessage(`{"connections":`)); err == nil {
		t.Error("a broken answer is handed on")
	}
}
