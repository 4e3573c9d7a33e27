package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"vpngw/desired"
	"vpngw/gateway"
)

// Events is the answer to GET /v1/events.
type Events struct {
	Events []gateway.Event `json:"events"`
}

// next is the query of events.
type next struct {
	name   string
	after  uint64
	wait   time.Duration
	follow bool
}

const maxEventsWait = 30 * time.Second

func readNext(q url.Values) (any, error) {
	number := func(name string, most uint64) (uint64, error) {
		text := q.Get(name)
		if text == "" {
			return 0, nil
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n > most {
			return 0, fmt.Errorf("%s must be a number from 0 to %d, and is %q", name, most, text)
		}
		return n, nil
	}
	after, err := number("after", 1<<63)
	if err != nil {
		return nil, err
	}
	wait, err := number("wait", uint64(maxEventsWait/time.Second))
	if err != nil {
		return nil, err
	}
	follow, err := number("follow", 1)
	return next{q.Get("name"), after, time.Duration(wait) * time.Second, follow == 1}, err
}

// writeTo writes one event at a time: there are ten thousand, and many clients may ask at once.
func (list Events) writeTo(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	before := `{"events":[`
	for _, e := range list.Events {
		text, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s%s", before, text)
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the client must not take the rest for all
		}
		before = ","
	}
	if len(list.Events) == 0 {
		io.WriteString(w, before)
	}
	io.WriteString(w, "]}\n")
}

// follow answers with the events after that of a number, and then with each new one.
func follow(ctx context.Context, d Daemon, n next) (any, error) {
	list, err := d.Events(ctx, n.name, n.after, 0)
	if err != nil {
		return nil, err
	}
	return lines(func(yield func(any) error) error {
		for ; err == nil; list, err = d.Events(ctx, n.name, n.after, maxEventsWait) {
			for _, e := range list {
				n.after = e.Number
				if err := yield(e); err != nil {
					return err
				}
			}
		}
		return err
	}), nil
}

// lines is an answer of any number of values, each a line of JSON. It ends when yield fails, and otherwise when it likes.
type lines func(yield func(any) error) error

func (each lines) writeTo(w http.ResponseWriter) {
	s := newStream(w, lineByLine)
	s.Write(nil) // the client hears at once that it is heard
	each(json.NewEncoder(s).Encode)
}

// readTrial reads the time of a try.
func readTrial(q url.Values) (any, error) {
	least, most := desired.MinTrial/time.Second, desired.MaxTrial/time.Second
	n, err := strconv.ParseUint(q.Get("seconds"), 10, 32)
	if err != nil || n < uint64(least) || n > uint64(most) {
		return nil, fmt.Errorf("seconds must be a number from %d to %d, and is %q", least, most, q.Get("seconds"))
	}
	return time.Duration(n) * time.Second, nil
}
