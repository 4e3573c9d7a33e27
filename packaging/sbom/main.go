// Command sbom writes the bill of materials of a Go program, CycloneDX 1.6 as JSON, from what the linker left in it.
// It reads no clock and no random numbers: equal programs have equal bills.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

func main() {
	version := flag.String("version", "", "the program's `version`")
	epoch := flag.Int64("epoch", 0, "the bill's time, in `seconds` since 1970")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: sbom -version V -epoch SECONDS PROGRAM")
		os.Exit(2)
	}
	if err := write(os.Stdout, flag.Arg(0), *version, time.Unix(*epoch, 0)); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

type bill struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber,omitempty"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Hashes     []hash     `json:"hashes,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

func write(w io.Writer, program, version string, at time.Time) error {
	code, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(code))
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	sum := sha256.Sum256(code)
	b := describe(info, version, sum, at)
	out, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(out, '\n'))
	return err
}

func describe(info *debug.BuildInfo, version string, sum [sha256.Size]byte, at time.Time) bill {
	whole := component{
		Ref: info.Main.Path, Type: "application", Name: info.Main.Path, Version: version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" || s.Key == "-trimpath" {
			whole.Properties = append(whole.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	release := strings.TrimPrefix(info.GoVersion, "go")
	parts := []component{{Ref: "std", Type: "library", Name: "std", Version: release, PURL: "pkg:golang/std@" + release}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Ref: m.Path + "@" + m.Version, Type: "library", Name: m.Path, Version: m.Version}
		c.PURL = "pkg:golang/" + c.Ref
		// go.sum's h1 is the SHA-256 of the list of the module's files with the SHA-256 of each.
		if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(raw) == sha256.Size {
			c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
		}
		parts = append(parts, c)
	}
	all := dependency{Ref: whole.Ref}
	links := []dependency{}
	for _, c := range parts {
		all.DependsOn = append(all.DependsOn, c.Ref)
		links = append(links, dependency{Ref: c.Ref})
	}
	return bill{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		SerialNumber: serial(sum),
		Metadata:     metadata{at.UTC().Format(time.RFC3339), whole},
		Components:   parts,
		Dependencies: append([]dependency{all}, links...),
	}
}

// serial is a UUID made of the program's hash (RFC 9562 §5.8).
func serial(sum [sha256.Size]byte) string {
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
