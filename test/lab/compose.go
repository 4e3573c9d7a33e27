package lab

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Project is a set of containers by compose files. It is taken down with the Lab, and its logs are printed if the test
// has failed.
type Project struct {
	engine *Engine
	args   []string // of the compose command, before its verb
	down   bool
}

// Compose makes a project of the Lab's own out of compose files. The first one's directory is what paths in all of them
// are relative to. Variables of the files come from the environment, which settings add to ("NAME=VALUE").
func (e *Engine) Compose(files, profiles []string, settings ...string) *Project {
	e.lab.Helper()
	p := &Project{engine: e, args: append(e.compose[1:len(e.compose):len(e.compose)], "--project-name", e.lab.tag)}
	p.args = append(p.args, "--env-file", e.lab.File("compose.env", strings.Join(settings, "\n")+"\n"))
	for _, f := range files {
		p.args = append(p.args, "--file", f)
	}
	for _, f := range profiles {
		p.args = append(p.args, "--profile", f)
	}
	e.lab.onClose(p.Down)
	return p
}

// Try runs a compose command that may fail.
func (p *Project) Try(args ...string) (string, error) {
	return p.engine.run(5*time.Minute, p.engine.compose[0], append(p.args[:len(p.args):len(p.args)], args...)...)
}

// Do runs a compose command.
func (p *Project) Do(args ...string) string {
	p.engine.lab.Helper()
	out, err := p.Try(args...)
	if err != nil {
		p.engine.lab.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, tail(out, 40))
	}
	return strings.TrimSpace(out)
}

// Down removes the containers, networks and volumes. Later calls do nothing.
func (p *Project) Down() {
	if p.down {
		return
	}
	p.down = true
	if p.engine.lab.Failed() {
		out, _ := p.Try("logs", "--no-color", "--tail", "300")
		p.engine.lab.Logf("---- logs of the containers ----\n%s", out)
	}
	if out, err := p.Try("down", "--volumes", "--timeout", "5"); err != nil {
		p.engine.lab.Errorf("compose down: %v\n%s", err, tail(out, 40))
	}
	for _, kind := range []string{"container", "network", "volume"} {
		args := []string{kind, "ls", "--quiet", "--filter", "label=com.docker.compose.project=" + p.engine.lab.tag}
		if kind == "container" {
			args = append(args, "--all")
		}
		if out, err := p.engine.Try(args...); err != nil || strings.TrimSpace(out) != "" {
			p.engine.lab.Errorf("compose down left a %s: %s (%v)", kind, out, err)
		}
	}
}

// Container is the id of a service's container.
func (p *Project) Container(service string) string {
	p.engine.lab.Helper()
	id := p.engine.Docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+p.engine.lab.tag,
		"--filter", "label=com.docker.compose.service="+service)
	if id == "" || strings.Contains(id, "\n") {
		p.engine.lab.Fatalf("lab: the container of %s is %q", service, id)
	}
	return id
}

// Exec runs a program in a service's container and returns its output.
func (p *Project) Exec(service string, args ...string) string {
	p.engine.lab.Helper()
	out, err := p.TryExec(service, args...)
	if err != nil {
		p.engine.lab.Fatalf("in %s: %s: %v\n%s", service, strings.Join(args, " "), err, tail(out, 40))
	}
	return strings.TrimSpace(out)
}

// TryExec is Exec for a program that may fail.
func (p *Project) TryExec(service string, args ...string) (string, error) {
	p.engine.lab.Helper()
	return p.engine.Try(append([]string{"exec", p.Container(service)}, args...)...)
}

// Fetch copies a file out of a service's container and returns its content.
func (p *Project) Fetch(service, path string) []byte {
	p.engine.lab.Helper()
	to := p.engine.lab.File("fetched", "")
	p.engine.Docker("cp", fmt.Sprintf("%s:%s", p.Container(service), path), to)
	text, err := os.ReadFile(to)
	if err != nil {
		p.engine.lab.Fatalf("lab: %v", err)
	}
	return text
}
