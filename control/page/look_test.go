package page

import (
	"fmt"
	"image/png"
	"math"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A browser shows the page: dark where its user wants that, and with its own style, which the policy allows. `make page-test`
// runs this; it leaves the pictures, for people to look at, in the directory VPNGW_PAGES.
func TestABrowserShowsThePage(t *testing.T) {
	dir := os.Getenv("VPNGW_PAGES")
	if dir == "" {
		t.Skip("make page-test runs this")
	}
	for _, n := range []int{0, 1, 20, 500} {
		s := httptest.NewServer(busy(n))
		for _, theme := range []string{"light", "dark"} {
			name := filepath.Join(dir, fmt.Sprintf("%d-%s.png", n, theme))
			log := chromium(t, s.URL, "--screenshot="+name, "--window-size=1200,900", "--hide-scrollbars",
				"--blink-settings=preferredColorScheme="+map[string]string{"dark": "0", "light": "1"}[theme])
			if strings.Contains(log, "Content Security Policy") || strings.Contains(log, "Refused") {
				t.Errorf("%d tunnels: the browser refused something:\n%s", n, log)
			}
			if light := brightness(t, name); light > 0.5 != (theme == "light") {
				t.Errorf("%d tunnels: a %s page has the brightness %.2f", n, theme, light)
			}
		}
		s.Close()
	}
}

// busy is a page of n tunnels with an hour of traffic.
func busy(n int) *Page {
	f := fleet(n)
	p := shown(f, "gw1.example.net", "vpngw")
	for m := range minutes + 1 {
		for i := range f.status.Connections {
			tr := &f.status.Connections[i].Tunnels[0].Traffic
			tr.BytesIn += uint64(1e8 * (1.2 + math.Sin(float64(m)/6+float64(i))))
			tr.BytesOut += uint64(6e7 * (1.1 + math.Cos(float64(m)/9+float64(i))))
		}
		p.history.note(time.Now().Add(time.Duration(m-minutes)*time.Minute), f.status)
	}
	return p
}

func chromium(t *testing.T, url string, args ...string) string {
	t.Helper()
	out, err := exec.Command("chromium", append(args, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
		"--user-data-dir="+t.TempDir(), url)...).CombinedOutput()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, out)
	}
	return string(out)
}

// brightness is that of a picture's edge, from 0 to 1.
func brightness(t *testing.T, name string) float64 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	r, g, b, _ := img.At(3, 3).RGBA()
	return float64(r+g+b) / (3 * 0xffff)
}
