package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// patient starts a server that never closes a client because of the time.
func patient(t *testing.T, d Daemon) string {
	t.Helper()
	return serve(t, d, func(s *Server) { s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.IdleTimeout = 0, 0, 0 })
}

func TestSilentAndSlowClientsDelayNobody(t *testing.T) {
	path := patient(t, &fakeDaemon{})
	for i := range 3 * maxConnections {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		switch i % 3 { // 0: it says nothing
		case 1: // it never comes to the end of its request
			io.WriteString(conn, "POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		case 2: // it keeps its connection after its request
			io.WriteString(conn, "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime/2)
	defer cancel()
	if _, err := NewClient(path).Status(ctx); err != nil {
		t.Errorf("no status beside %d slow clients: %v", 3*maxConnections, err)
	}
}

func TestWhoLeavesWhenThereAreTooManyClients(t *testing.T) {
	const admin, a, b = 0, 1000, 1001
	full := func(users ...int) []int { // clients of these users in turn
		var out []int
		for i := range maxConnections {
			out = append(out, users[i%len(users)])
		}
		return out
	}
	all := make([]int, maxConnections)
	for i := range all {
		all[i] = i
	}
	for _, tt := range []struct {
		name    string
		users   []int // in the order of their arrival; the daemon's own user is 500
		working []int // whose requests it is executing
		out     int   // who leaves when the last one comes; -1: nobody
	}{
		{"a place is left", full(a)[1:], nil, -1},
		{"the oldest", append(full(a), a), nil, 0},
		{"the oldest that waits", append(full(a), a), []int{0, 1}, 2},
		{"the newcomer, if all others are served", append(full(a), a), all, maxConnections},
		{"one of the user who has most", append(append([]int{b}, full(a)[1:]...), b), nil, 1},
		{"even one that is served", append(full(a), b), all, 0},
		{"nobody for an administrator", append(full(a), admin), nil, -1},
		{"nobody who commands for those who look", append(append(full(admin, 500), full(a)...), a), nil, maxConnections},
		{"the daemon's own user is an administrator", append(full(500), 500, a), nil, 0},
	} {
		d := newDoor(nil, 500, 0)
		var clients []*client
		out := -1
		for i, user := range tt.users {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			c := d.client(near, user)
			clients = append(clients, c)
			if i == len(tt.users)-1 {
				for _, w := range tt.working {
					clients[w].working = true
				}
			}
			if left := c.room.admit(c.guest); left != nil {
				for j, o := range clients {
					if o.guest == left {
						out = j
					}
				}
			}
		}
		if out != tt.out {
			t.Errorf("%s: client %d leaves, want %d", tt.name, out, tt.out)
		}
	}
}

// as calls f as another user. It needs root.
func as(t *testing.T, user int, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: another user")
	}
	done := make(chan error)
	go func() {
		// A thread has a user of its own, and one that stays locked ends with its goroutine.
		runtime.LockOSThread()
		keep := ^uintptr(0)
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(user), keep); e != 0 {
			done <- e
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOnlyRootAndTheDaemonsUserMayCommand(t *testing.T) {
	d := &fakeDaemon{}
	path := patient(t, d)
	if err := os.Chmod(filepath.Dir(filepath.Dir(filepath.Dir(path))), 0o755); err != nil {
		t.Fatal(err)
	}
	post := func(verb, body string) string {
		return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", verb, len(body), body)
	}
	requests := []struct {
		verb, request string
		user          int // the answer to another user
	}{
		{"status", "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"counters", "GET /v1/counters HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"events", "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"diagnosis", "GET /v1/diagnosis?name=hq HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"config", "GET /v1/config HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"routes", "GET /v1/routes HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"version", "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"openapi.json", "GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"log-level", "GET /v1/log-level HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusOK},
		{"log-level", post("log-level", `{"level":"debug","for_s":60}`), http.StatusForbidden},
		{"up", post("up", `{"name":"hq"}`), http.StatusForbidden},
		{"down", post("down", `{"name":"hq"}`), http.StatusForbidden},
		{"failover", post("failover", `{"name":"hq"}`), http.StatusForbidden},
		{"failback", post("failback", `{"name":"hq"}`), http.StatusForbidden},
		{"rekey", post("rekey", `{"name":"hq"}`), http.StatusForbidden},
		{"reload", post("reload", ""), http.StatusForbidden},
		{"plan", post("plan", ""), http.StatusForbidden},
		{"try", post("try?seconds=60", ""), http.StatusForbidden},
		{"confirm", post("confirm", ""), http.StatusForbidden},
		{"keylog", post("keylog", `{"name":"hq","seconds":1}`), http.StatusForbidden},
		{"capture", post("capture", `{"name":"hq","seconds":1}`), http.StatusForbidden},
	}
	if len(verbs(d, "")) != len(requests) {
		t.Errorf("%d requests are tried, and there are %d", len(requests), len(verbs(d, "")))
	}
	for _, r := range requests {
		var conn net.Conn
		var err error
		as(t, 65534, func() { conn, err = net.Dial("unix", path) })
		if err != nil {
			t.Fatal(err)
		}
		got, body := askOn(t, conn, r.request) // who wrote it does not count, who connected does
		if got != r.user {
			t.Errorf("%s: got %d, want %d: %s", r.verb, got, r.user, body)
		}
		if want := "user 65534 may only look"; got == http.StatusForbidden && (!strings.Contains(body, want) || !strings.Contains(body, r.verb+" needs root")) {
			t.Errorf("%s: got %s, want %q in it", r.verb, body, want)
		}
	}
	if len(d.told) > 0 {
		t.Errorf("the daemon heard %q", d.told)
	}
	for _, r := range requests {
		if got, body := ask(t, path, r.request); got != http.StatusOK {
			t.Errorf("%s as root: got %d: %s", r.verb, got, body)
		}
	}
	if want := []string{
		"log level DEBUG for 1m0s", "up hq", "down hq", "failover hq", "failback hq", "rekey the Child SAs of hq", "reload", "plan", "try 1m0s", "confirm",
		"keylog hq for 1s", "capture {Name:hq For:1s Count:0 Snaplen:262144 Inner:true Outer:true}",
	}; !reflect.DeepEqual(d.told, want) {
		t.Errorf("the daemon heard %q, want %q", d.told, want)
	}
}
