package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are the paths of the measured programs, built from this module's go.mod.
type programs struct {
	vpngw, relay, wireguard string
	delay, floor            string
	other                   string // of BENCH_OTHER, or empty
}

// wireguardModule is also its main package.
const wireguardModule = "golang.zx2c4.com/wireguard"

// build builds the programs into a directory. $VPNGW names an existing vpngw.
func build(t *trial, dir, other string) programs {
	p := programs{
		vpngw: os.Getenv("VPNGW"), relay: filepath.Join(dir, "relay"), wireguard: filepath.Join(dir, "wireguard-go"),
		delay: filepath.Join(dir, "delay"), floor: filepath.Join(dir, "floor"), other: other,
	}
	from := map[string]string{p.relay: "vpngw/test/bench/relay", p.delay: "vpngw/test/bench/delay", p.floor: "vpngw/test/bench/floor", p.wireguard: wireguardModule}
	if p.vpngw == "" {
		p.vpngw = filepath.Join(dir, "vpngw")
		from[p.vpngw] = "vpngw/cmd/vpngw"
	}
	gotool := os.Getenv("GO")
	if gotool == "" {
		gotool = "go"
	}
	for path, pkg := range from {
		cmd := exec.Command(gotool, "build", "-trimpath", "-buildvcs=false", "-o", path, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", pkg, err, out)
		}
	}
	return p
}

// wireguardVersion is the version that was built.
func (p programs) wireguardVersion() string {
	info, err := buildinfo.ReadFile(p.wireguard)
	if err != nil {
		return "unknown"
	}
	return info.Main.Version
}
