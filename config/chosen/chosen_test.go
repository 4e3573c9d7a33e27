package chosen

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"vpngw/config"
	"vpngw/config/dialect"
)

var block = netip.MustParsePrefix("169.254.0.0/16")

// cloud is a connection that leaves everything to its cloud.
func cloud(name string) *dialect.Draft {
	return &dialect.Draft{
		Connection: &config.Connection{
			Name: name, Side: config.Cloud,
			Tunnels: []config.Tunnel{{Name: name, Health: &config.Health{}}},
		},
		Choices: []dialect.Choice{
			{What: dialect.ChoosePSK, Kept: "psk-" + name, Letters: "abc123", Length: 16},
			{What: dialect.ChooseInside, Kept: "inside-" + name, Within: block, Not: []netip.Prefix{netip.MustParsePrefix("169.254.195.0/24")}},
			{What: dialect.ChooseHealth, Kept: "health-" + name, Within: netip.MustParsePrefix("169.254.128.0/17")},
		},
	}
}

func TestWhatIsChosenStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	a := []*dialect.Draft{cloud("one"), cloud("two")}
	if err := Fill(a, dir, nil); !errors.Is(err, ErrNone) {
		t.Errorf("got %v before anything was chosen, want ErrNone", err)
	}
	if err := Fill(a, dir, rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, c := range a {
		tun := c.Tunnels[0]
		if len(tun.PSK) != 16 || tun.Inside.Bits() != 30 || !block.Contains(tun.Peer) || !tun.Health.Source.IsValid() || tun.Health.Source == tun.Health.Target {
			t.Errorf("got %+v", tun)
		}
		if tun.Peer != tun.Inside.Addr().Next() {
			t.Errorf("the cloud has %v, its peer %v: the lower host is the cloud's", tun.Inside, tun.Peer)
		}
	}
	if a[0].Tunnels[0].PSK.Equal(a[1].Tunnels[0].PSK) || a[0].Tunnels[0].Inside == a[1].Tunnels[0].Inside {
		t.Error("two connections have the same values")
	}
	b := []*dialect.Draft{cloud("one"), cloud("two")}
	if err := Fill(b, dir, nil); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("the next start has other values: %v", err)
	}
	files, _ := filepath.Glob(dir + "/*")
	if len(files) != 6 {
		t.Errorf("got files %v", files)
	}
	for _, f := range files {
		if i, err := os.Stat(f); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, i.Mode(), err)
		}
	}
}

func TestBlocksThatAreTakenAreNotChosen(t *testing.T) {
	c := cloud("one")
	c.Choices = c.Choices[1:2]
	c.Choices[0].Within = netip.MustParsePrefix("169.254.195.0/28")
	c.Choices[0].Not = []netip.Prefix{netip.MustParsePrefix("169.254.195.8/29")}
	other := &dialect.Draft{Connection: &config.Connection{Tunnels: []config.Tunnel{{Inside: netip.MustParsePrefix("169.254.195.1/30")}}}}
	if err := Fill([]*dialect.Draft{other, c}, t.TempDir(), bytes.NewReader(make([]byte, 100))); err != nil {
		t.Fatal(err)
	}
	if got := c.Tunnels[0].Inside.String(); got != "169.254.195.5/30" {
		t.Errorf("got %s, want the one block that is left", got)
	}
	c.Choices[0].Kept, c.Tunnels[0].Inside = "another", netip.MustParsePrefix("169.254.195.5/30")
	if err := Fill([]*dialect.Draft{other, c}, t.TempDir(), bytes.NewReader(make([]byte, 100))); err == nil || !strings.Contains(err.Error(), "no block is left") {
		t.Errorf("got %v", err)
	}
}

func TestSpoiledFilesAreNamed(t *testing.T) {
	for _, text := range []string{"", "secret-of-16-let", "abc", "169.254.0.0/29", "169.254.195.0/30", "10.0.0.0/30", "169.254.128.1", "x y"} {
		dir := t.TempDir()
		c := cloud("one")
		for i, choice := range c.Choices {
			path := filepath.Join(dir, choice.Kept)
			if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			one := cloud("one")
			one.Choices = c.Choices[i : i+1]
			err := Fill([]*dialect.Draft{one}, dir, rand.Reader)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove the file") {
				t.Errorf("%q for %s: got %v", text, choice.What, err)
			}
			if err != nil && text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%v shows what is in the file", err)
			}
		}
	}
}

func TestLongNamesHaveShortFiles(t *testing.T) {
	c := cloud(strings.Repeat("总", 100))
	if err := Fill([]*dialect.Draft{c}, t.TempDir(), rand.Reader); err != nil {
		t.Error(err)
	}
}
