// Command guest runs inside a guest of the lab and does what the test asks for: it runs scripts, writes files, and sends and
// counts packets. Everybody who reaches it is obeyed, so it listens on the cable to the test alone.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"vpngw/test/lab/numbered"
)

// answer is what a script ended with.
type answer struct {
	Code int    // the exit status; -1: it did not end by itself
	Out  string // standard output and standard error
}

// talks are the flows, by name.
var talks struct {
	sync.Mutex
	ends map[string]*numbered.End
}

func main() {
	talks.ends = map[string]*numbered.End{}
	http.HandleFunc("POST /sh", script)
	http.HandleFunc("POST /file", file)
	http.HandleFunc("POST /talk/{verb}", talk)
	go relay(os.Args[2], os.Args[3])
	err := http.ListenAndServe(os.Args[1], nil)
	fmt.Fprintln(os.Stderr, "guest:", err)
	os.Exit(1)
}

// relay connects who calls at an address to a Unix socket. A daemon's socket may come and go.
func relay(address, socket string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		return
	}
	for {
		here, err := l.Accept()
		if err != nil {
			return
		}
		there, err := net.Dial("unix", socket)
		if err != nil {
			here.Close()
			continue
		}
		for _, c := range [][2]net.Conn{{here, there}, {there, here}} {
			go func() {
				io.Copy(c[0], c[1])
				c[0].Close()
			}()
		}
	}
}

func script(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	seconds, _ := strconv.Atoi(r.FormValue("seconds"))
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", string(text))
	cmd.WaitDelay = time.Second // a daemon may hold the pipe
	out, err := cmd.CombinedOutput()
	a := answer{Out: string(out)}
	if a.Code = -1; cmd.ProcessState != nil {
		a.Code = cmd.ProcessState.ExitCode()
	}
	if a.Code < 0 && err != nil {
		a.Out += err.Error() // no exit status says it
	}
	json.NewEncoder(w).Encode(a)
}

func file(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func talk(w http.ResponseWriter, r *http.Request) {
	talks.Lock()
	defer talks.Unlock()
	name := r.FormValue("name")
	end := talks.ends[name]
	verb := r.PathValue("verb")
	if (end == nil) != (verb == "open") {
		http.Error(w, "open it first, and once", http.StatusConflict)
		return
	}
	rate, _ := strconv.Atoi(r.FormValue("rate"))
	switch verb {
	case "open":
		local, err := netip.ParseAddrPort(r.FormValue("local"))
		remote, err2 := netip.ParseAddrPort(r.FormValue("remote"))
		if err == nil {
			err = err2
		}
		if err == nil {
			end, err = numbered.Open(local, remote)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		talks.ends[name] = end
	case "start":
		end.Start(max(1, rate))
	case "halt":
		end.Halt()
	case "close":
		end.Close()
		delete(talks.ends, name)
	}
	json.NewEncoder(w).Encode(end.Report())
}
