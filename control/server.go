package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"vpngw/desired"
	"vpngw/gateway"
	"vpngw/tunnel"
)

// Server answers on the control socket.
type Server struct {
	http http.Server
	take time.Duration
	done chan error
}

// Serve starts a server that answers requests on l, a Unix socket, for d until Close.
func Serve(l net.Listener, d Daemon, version string, log *slog.Logger) *Server {
	s := newServer(d, version, log)
	s.serve(l)
	return s
}

func newServer(d Daemon, version string, log *slog.Logger) *Server {
	s := &Server{take: takeTime, done: make(chan error, 1)}
	s.http = http.Server{
		Handler:           handler(d, version),
		ConnContext:       withConn,
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

func (s *Server) serve(l net.Listener) {
	go func() { s.done <- s.http.Serve(newDoor(l, os.Geteuid(), s.take)) }()
}

// Close ends the server and removes the socket. It breaks off requests in progress.
func (s *Server) Close() error {
	s.http.Close()
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func handler(d Daemon, version string) http.Handler {
	mux := http.NewServeMux()
	for _, v := range verbs(d, version) {
		mux.Handle(v.pattern, v)
	}
	tell := exposition(d)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		clientOf(r.Context()).work(func() { tell.ServeHTTP(w, r) })
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusNotFound, failure{Error: fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path)})
	})
	return mux
}

// read reads a body that names a target. It returns false after it has answered with an error.
func read(w http.ResponseWriter, r *http.Request, v named) bool {
	bad := func(status int, text string) bool {
		write(w, status, failure{Error: text})
		return false
	}
	form := `{"name":"…"}`
	if f, ok := v.(interface{ form() string }); ok {
		form = f.form()
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); more == nil {
			err = errors.New("data follows the JSON object")
		} else if more != io.EOF {
			err = more
		}
	}
	tooLarge := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &tooLarge):
		return bad(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
	case err != nil:
		return bad(http.StatusBadRequest, fmt.Sprintf("the body must be %s: %s", form, short(err.Error())))
	case v.name() == "":
		return bad(http.StatusBadRequest, fmt.Sprintf("the body must be %s: there is no name in it", form))
	case len(v.name()) > maxName:
		return bad(http.StatusBadRequest, fmt.Sprintf("the name has %d bytes; no name has more than %d", len(v.name()), maxName))
	}
	return true
}

// short bounds what a decoder says of a body: it quotes names of members.
func short(text string) string {
	if len(text) > 2*maxName {
		return strings.ToValidUTF8(text[:2*maxName], "") + "…"
	}
	return text
}

// skip reads the body of a request that needs none. It returns false after it has answered with an error.
func skip(w http.ResponseWriter, r *http.Request) bool {
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		write(w, http.StatusRequestEntityTooLarge, failure{Error: fmt.Sprintf("the body is larger than %d bytes", maxBody)})
	} else if err != nil {
		write(w, http.StatusBadRequest, failure{Error: "the body breaks off"})
	}
	return err == nil
}

// answer writes v, or the error that prevented it.
func answer(w http.ResponseWriter, v any, err error) {
	unknown := (*gateway.UnknownNameError)(nil)
	invalid := (*desired.InvalidError)(nil)
	stays := (*tunnel.SwitchError)(nil)
	pending := (*desired.PendingError)(nil)
	busy := (*gateway.BusyError)(nil)
	notPending := (*desired.NotPendingError)(nil)
	own, ok := v.(interface{ writeTo(http.ResponseWriter) })
	switch {
	case err == nil && v == nil:
		write(w, http.StatusOK, struct{}{})
	case err == nil && ok:
		own.writeTo(w)
	case err == nil:
		write(w, http.StatusOK, v)
	case errors.As(err, &invalid):
		write(w, http.StatusUnprocessableEntity, failure{err.Error(), invalid.Problems})
	case errors.As(err, &pending), errors.As(err, &notPending), errors.As(err, &stays), errors.As(err, &busy):
		write(w, http.StatusConflict, failure{Error: err.Error()})
	case errors.As(err, &unknown):
		write(w, http.StatusNotFound, failure{Error: err.Error()})
	case errors.Is(err, gateway.ErrStopped):
		write(w, http.StatusServiceUnavailable, failure{Error: err.Error()})
	default:
		write(w, http.StatusInternalServerError, failure{Error: err.Error()})
	}
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // fails only if the client has closed the connection
}
