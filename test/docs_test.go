package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	configload "vpngw/config/load"
	"vpngw/gateway"
)

// valid loads a configuration from a new folder, together with other files.
func valid(t *testing.T, text string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "vpngw.yaml")
	text = strings.ReplaceAll(text, "/etc/vpngw/", dir+"/")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := configload.File(path, configload.Options{Unserved: gateway.Unserved})
	for _, p := range problems {
		t.Errorf("%v", p)
	}
	if c == nil || len(c.Connections) == 0 {
		t.Errorf("no connection was read")
	}
}

var keys = map[string]string{"hq.psk": "a-key-of-the-documentation", "lab.psk": "another-key-of-the-documentation"}

func TestExampleConfigurationIsValid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../cmd/vpngw/vpngw.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	valid(t, string(text), keys)
	// The configuration is valid too with its comments turned into settings.
	t.Run("uncommented", func(t *testing.T) {
		all := regexp.MustCompile(`(?m)^( *)# ((- native:| *(ike_version|local|remote|ike|esp|name|psk_file|listen):).*)$`).ReplaceAllString(string(text), "$1$2")
		if strings.Count(all, "#") >= strings.Count(string(text), "#") {
			t.Error("nothing is commented out")
		}
		valid(t, all, keys)
	})
}

func TestConfigurationOfThePagesIsValid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder // the blocks follow upon each other
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all.WriteString(m[1])
	}
	body, err := os.ReadFile("demo/body.json")
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	fields["IkeConfig"] = regexp.MustCompile(`"Psk":"[^"]*",`).ReplaceAllString(fields["IkeConfig"].(string), "")
	if body, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"bodies/hq.json": string(body)}
	for name, key := range keys {
		files[name] = key
	}
	valid(t, all.String(), files)
}

// SECURITY.md tells what was found with which Go and which database: the ones in use.
func TestSECURITYNamesTheGoAndTheDatabase(t *testing.T) {
	t.Parallel()
	find := func(file, pattern string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(pattern).FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("%s has nothing like %s", file, pattern)
		}
		return m[1]
	}
	for _, want := range []string{find("../go.mod", `(?m)^toolchain (.*)$`), "golang.org/x/vulndb@" + find("../Makefile", `(?m)^VULNDB +\?= (.*)$`)} {
		find("../SECURITY.md", "("+regexp.QuoteMeta(want)+")")
	}
	// Each accepted vulnerability is of the version in use, and stands there with it.
	for _, ok := range strings.Fields(find("../Makefile", `(?m)^VULNOK +\?= (.*)$`)) {
		id, module, _ := strings.Cut(ok, "@")
		path, version, _ := strings.Cut(module, "@")
		find("../go.mod", "("+regexp.QuoteMeta(path+" "+version)+")\\b")
		find("../SECURITY.md", "(Accepted: "+regexp.QuoteMeta(id+" in `"+module+"`")+")")
	}
}
