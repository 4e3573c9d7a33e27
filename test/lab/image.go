package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Base is the image that the lab's images stand on.
const Base = "debian:bookworm-slim"

// Has reports whether the engine has an image.
func (e *Engine) Has(image string) bool {
	_, err := e.Try("image", "inspect", image)
	return err == nil
}

// Image builds an image from a directory with a Dockerfile, unless the engine has one from the same files, and returns its name.
func (e *Engine) Image(name, dir string) string {
	e.lab.Helper()
	image := "vpngw-lab/" + name + ":" + e.digest(dir)
	if e.Has(image) {
		return image
	}
	start := time.Now()
	network := "default"
	if e.daemon != nil {
		network = "host"
		e.daemon.end(syscall.SIGTERM)
		e.start(outside)
		defer func() {
			e.daemon.end(syscall.SIGTERM)
			e.start(isolated)
		}()
	}
	e.base()
	old := strings.Fields(e.Docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "vpngw-lab/"+name))
	e.Docker("build", "--network", network, "--tag", image, dir)
	if len(old) > 0 {
		e.Docker(append([]string{"image", "rm", "--force"}, old...)...)
	}
	e.lab.Logf("built %s in %v", image, time.Since(start).Round(time.Second))
	return image
}

// base sees to it that there is the base image: here, from the registry, or made of Debian's packages.
func (e *Engine) base() {
	e.lab.Helper()
	if e.Has(Base) {
		return
	}
	start := time.Now()
	if _, err := e.run(30*time.Second, e.docker, "pull", Base); err == nil {
		e.lab.Logf("pulled %s in %v", Base, time.Since(start).Round(time.Second))
		return
	}
	require(e.lab.T, []string{"debootstrap"})
	root := filepath.Join(e.lab.Dir, "debian")
	defer os.RemoveAll(root)
	e.lab.tool(10*time.Minute, "", "debootstrap", "--variant=minbase", "bookworm", root)
	e.lab.tool(2*time.Minute, "", "sh", "-ec", `root=$1; shift
		rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/locale/* "$root"/usr/share/doc/*
		tar -C "$root" -c . | "$@"`, "sh", root, "env", "DOCKER_HOST="+e.host, e.docker, "import", "-", Base)
	e.lab.Logf("made %s by debootstrap in %v", Base, time.Since(start).Round(time.Second))
}

// digest is a short hash over the files of a directory and their names.
func (e *Engine) digest(dir string) string {
	e.lab.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		h.Write([]byte(filepath.Base(path)))
		h.Write(text)
		return err
	})
	if err != nil {
		e.lab.Fatalf("lab: %v", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// Forget removes an image, those that were built on it since, and the unnamed stages of their building.
func (e *Engine) Forget(first string, later ...string) {
	stages, _ := e.Try("image", "ls", "--quiet", "--filter", "dangling=true", "--filter", "since="+first)
	e.Try(append(append([]string{"image", "rm", "--force"}, later...), first)...)
	if stages := strings.Fields(stages); len(stages) > 0 {
		e.Try(append([]string{"image", "rm"}, stages...)...)
	}
}
