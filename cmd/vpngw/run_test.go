package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"vpngw/desired"
)

// Where this host is the cloud, a key that the body leaves out is chosen once, for all
// connections between the same two gateways, and is there after every reload and restart.
func TestRunChoosesTheCloudsKeyOnce(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "vpngw.yaml"), filepath.Join(dir, "state")
	body := func(local string) string {
		return "  - alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.9, LocalSubnet: " + local + ", RemoteSubnet: 192.168.3.0/24}\n"
	}
	if err := os.WriteFile(file, []byte("version: 1\nside: cloud\nconnections:\n"+body("10.1.0.0/16")+body("10.2.0.0/16")), 0o600); err != nil {
		t.Fatal(err)
	}
	first, problems := loadToRun(file, state)
	if first == nil {
		t.Fatal(problems)
	}
	a, b := first.Connections[0].Tunnels[0], first.Connections[1].Tunnels[0]
	if len(a.PSK) != 16 || !a.PSK.Equal(b.PSK) {
		t.Errorf("keys of %d and %d bytes; they share an IKE SA and must be the same", len(a.PSK), len(b.PSK))
	}
	again, problems := loadToRun(file, state)
	if !reflect.DeepEqual(first.Config, again.Config) {
		t.Errorf("the next start differs: %v", problems)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, problems := loadToRun(file, state); c != nil || !problems.Failed() {
		t.Error("it runs without the key")
	}
}

// A plan reads the file, and chooses and keeps nothing.
func TestAPlanChoosesNothing(t *testing.T) {
	dir := t.TempDir()
	file, state := filepath.Join(dir, "vpngw.yaml"), filepath.Join(dir, "state")
	write := func(gateways ...int) {
		t.Helper()
		text := "version: 1\nside: cloud\nconnections:\n"
		for _, n := range gateways {
			text += fmt.Sprintf("  - alibaba: {RegionId: x, VpnGatewayId: 198.51.100.1, CustomerGatewayId: 203.0.113.%d, LocalSubnet: 10.1.0.0/16, RemoteSubnet: 192.168.%d.0/24}\n    name: c%d\n", n, n, n)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(9)
	source := sourceOf(file, state)
	if c, problems := source.Look(); c == nil || len(c.Connections[0].Tunnels[0].PSK) > 0 {
		t.Fatalf("before anything is chosen: %v", problems)
	}
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it keeps something: %v", err)
	}
	first, problems := source.Load()
	if first == nil {
		t.Fatal(problems)
	}
	write(8, 9) // the new one is first
	look, problems := source.Look()
	if look == nil || len(look.Connections[0].Tunnels[0].PSK) > 0 || !look.Connections[1].Tunnels[0].PSK.Equal(first.Connections[0].Tunnels[0].PSK) {
		t.Errorf("what is kept is not what a reload would have: %v", problems)
	}
}

// What a trial goes back to is the whole of what ran: the bodies and keys beside the file, as they were.
func TestGoingBackBringsTheFilesThatTheFileNames(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("vpngw.yaml", "version: 1\nconnections:\n  - alibaba: hq.json\n    psk_file: hq.psk\n")
	body := `{"RegionId": "x", "VpnGatewayId": "198.51.100.1", "CustomerGatewayId": "203.0.113.9", "LocalSubnet": "10.%d.0.0/16", "RemoteSubnet": "192.168.3.0/24"}`
	write("hq.json", fmt.Sprintf(body, 1))
	write("hq.psk", "the-key-that-runs")
	source := sourceOf(filepath.Join(dir, "vpngw.yaml"), filepath.Join(dir, "state"))
	first, problems := source.Load()
	if first == nil {
		t.Fatal(problems)
	}
	write("hq.json", fmt.Sprintf(body, 2))
	write("hq.psk", "the-key-on-trial")
	text, err := first.Text()
	if err != nil {
		t.Fatal(err)
	}
	back, problems := source.Again(text)
	if back == nil || !reflect.DeepEqual(back.Config, first.Config) {
		t.Errorf("got another configuration: %v", problems)
	}
	if c, problems := source.Again([]byte("{")); c != nil || !problems.Failed() {
		t.Error("a record that is cut off runs")
	}
}

// The record of a reload on trial is a configuration: one that others can change is refused, as a file is.
func TestARecordThatOthersCanChangeIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "unconfirmed.json")
	if err := os.WriteFile(path, []byte(`{"back":false,"previous":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	s := desired.New(sourceOf(filepath.Join(dir, "vpngw.yaml"), dir), dir, slog.New(slog.DiscardHandler))
	if l, _, err := s.First(); l != nil || err == nil || !strings.Contains(err.Error(), "can change it") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, %v", l, err)
	}
}

// Keys go into no file that others may open, and follow no link.
func TestTheKeyLogOfARunIsForItsOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, mode := range map[string]os.FileMode{"open": 0o644, "group": 0o620, "own": 0o600} {
		if err := os.WriteFile(path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path("own"), path("link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"open": false, "group": false, "link": false, "own": true, "new": true} {
		f, err := openKeyLog(path(name))
		if (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
			f.Close()
		}
	}
	if f, err := openKeyLog("/dev/null"); err == nil {
		t.Error("a device is taken for a file")
		f.Close()
	}
}
