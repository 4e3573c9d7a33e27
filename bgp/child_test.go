package bgp

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	api "github.com/osrg/gobgp/v3/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vpngw/diag"
)

func TestOnlyOurMethodsAreAllowed(t *testing.T) {
	var names []string
	for _, m := range api.GobgpApi_ServiceDesc.Methods {
		names = append(names, m.MethodName)
	}
	for _, m := range api.GobgpApi_ServiceDesc.Streams {
		names = append(names, m.StreamName)
	}
	for _, n := range []string{"EnableMrt", "DisableMrt", "AddBmp", "EnableZebra", "StopBgp", "StartBgp", "AddRpki", "AddVrf", "AddPeerGroup", "AddDynamicNeighbor", "UpdatePeer", "SetLogLevel"} {
		if !slices.Contains(names, n) {
			t.Errorf("GoBGP has no method %s", n)
		}
		if err := allowed("/apipb.GobgpApi/" + n); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", n, err)
		}
	}
	for n := range permitted {
		if !slices.Contains(names, n) {
			t.Errorf("GoBGP has no method %s", n)
		}
	}
	if allowed("/apipb.GobgpApi/ListPeer") != nil || allowed("EnableMrt") == nil || allowed("") == nil {
		t.Error("allowed")
	}
}

func TestLinesAreBounded(t *testing.T) {
	var got []string
	l := &lines{each: func(b []byte) { got = append(got, string(b)) }}
	long := strings.Repeat("x", 3*maxLine)
	for _, part := range []string{"one\ntw", "o\n\n", long, long, "\nthree\nrest"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []string{"one", "two", long[:maxLine], "three"}; !slices.Equal(got, want) {
		t.Errorf("got %.100q", got)
	}
	if cap(l.line) > 2*maxLine {
		t.Errorf("%d bytes are kept", cap(l.line))
	}
}

// Lines as the child wrote them.
func TestReasonOfALine(t *testing.T) {
	r := &reasons{}
	for i, tt := range []struct {
		line string
		code diag.Code
		says string
	}{
		{`{"level":"debug","msg":"failed to connect","key":"169.254.10.2","topic":"Peer","error":"dial tcp 169.254.10.1:0-\u003e169.254.10.2:179: i/o timeout"}`, diag.BGPNoAnswer, "i/o timeout"},
		{`{"level":"debug","msg":"failed to connect","key":"169.254.10.2","topic":"Peer","error":"dial tcp 169.254.10.1:0-\u003e169.254.10.2:179: connect: connection refused"}`, diag.BGPRefused, "connection refused"},
		{`{"level":"debug","msg":"failed to connect","key":"169.254.10.2","topic":"Peer","error":"dial tcp 169.254.10.1:0-\u003e169.254.10.2:179: connect: no route to host"}`, diag.BGPNoAnswer, "no route to host"},
		{`{"level":"debug","msg":"state changed","key":"169.254.10.2","topic":"Peer","old":"BGP_FSM_OPENSENT","new":"BGP_FSM_IDLE","reason":"read-failed"}`, diag.BGPRefused, "the peer closed the connection instead of an answer to OPEN"},
		{`{"level":"warning","msg":"sent notification","key":"169.254.10.2","topic":"Peer","error":"as number mismatch expected 65009, received 4200000002","code":2,"subcode":2}`, diag.BGPAS, ""},
		{`{"level":"debug","msg":"state changed","key":"169.254.10.2","topic":"Peer","old":"BGP_FSM_OPENSENT","new":"BGP_FSM_IDLE","reason":"invalid-msg"}`, "", ""}, // said already
		{`{"level":"debug","msg":"state changed","key":"169.254.10.2","topic":"Peer","old":"BGP_FSM_OPENCONFIRM","new":"BGP_FSM_IDLE","reason":"invalid-msg"}`, diag.BGPNotification, "NOTIFICATION in answer to OPEN"},
		{`{"level":"warning","msg":"hold timer expired","key":"169.254.10.2","topic":"Peer"}`, diag.BGPHold, ""},
		{`{"level":"info","msg":"Peer Down","key":"169.254.10.2","topic":"Peer","reason":"notification-sent code 4(hold timer expired) subcode 0(undefined)"}`, "", ""},
		{`{"level":"warning","msg":"received notification","key":"169.254.10.2","topic":"Peer","code":6,"subcode":9}`, diag.BGPNotification, "Cease: Hard Reset"},
		{`{"level":"warning","msg":"received notification","key":"169.254.10.2","topic":"Peer","code":2,"subcode":2}`, diag.BGPAS, "OPEN Message Error: Bad Peer AS"},
		{`{"level":"warning","msg":"received notification","key":"169.254.10.2","topic":"Peer","code":200,"subcode":7}`, diag.BGPNotification, "error 200/7"},
		{`{"level":"warning","msg":"Capability was disabled","key":"169.254.10.2","topic":"Peer","error":"mp_reach","family":"ipv6-unicast"}`, diag.BGPFamily, "mp_reach"},
		{`{"level":"info","msg":"Add a peer configuration","key":"169.254.10.2","topic":"Peer"}`, "", ""},
		{`{"level":"warning","msg":"hold timer expired","key":"nobody","topic":"Peer"}`, "", ""},
		{`panic: runtime error: index out of range`, "", ""},
		{`{"level":7}`, "", ""},
	} {
		rec, _ := parse([]byte(tt.line))
		_, cause, ok := r.note(rec)
		if ok != (tt.code != "") || ok && cause.Code != tt.code || ok && tt.says != "" && tt.says != cause.Err+cause.Notify {
			t.Errorf("%d: %s: %v %#v, want %s %q", i, tt.line, ok, cause.Code, tt.code, tt.says)
		}
	}
	for i := range 1000 {
		r.note(record{Topic: "Peer", Message: "hold timer expired", Key: fmt.Sprintf("10.0.%d.%d", i>>8, i&255)})
	}
	if len(r.explained) > maxSessions {
		t.Errorf("%d neighbours are kept", len(r.explained))
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\nb\x1b[0m\x00": "a?b?[0m?", "\xff\xfe": "?", "日本": "日本", "\u202eevil": "?evil",
		strings.Repeat("é", 200): strings.Repeat("é", 127) + "…",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// Whatever the child writes, its lines are bounded and a reason is printable.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"level":"warning","msg":"received notification","key":"169.254.10.2","topic":"Peer","code":6,"subcode":2,"text":"bye"}` + "\n"))
	f.Add([]byte("panic: x\n\ngoroutine 1 [running]:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r reasons
		l := &lines{each: func(line []byte) {
			if len(line) > maxLine {
				t.Errorf("a line of %d bytes", len(line))
			}
			rec, _ := parse(line)
			_, cause, _ := r.note(rec)
			for _, s := range []string{cause.Theirs, cause.Err, cause.Notify, cause.Name} {
				if s != printable(s) {
					t.Errorf("%q", s)
				}
			}
		}}
		l.Write(b)
		l.Write([]byte("\n"))
	})
}

func TestSocketNames(t *testing.T) {
	seen := map[string]string{}
	for _, group := range []string{"hq", "a b", "a_b", "a/b", "..", ".", "", "../../etc/x", strings.Repeat("n", 300), strings.Repeat("n", 301), "日本"} {
		p := socket("/run/vpngw/bgp", group)
		if was, ok := seen[p]; ok {
			t.Errorf("%q and %q share %s", was, group, p)
		}
		seen[p] = group
		if !strings.HasPrefix(p, "/run/vpngw/bgp/") || strings.Count(p, "/") != 4 || len(p) > 107 || strings.Contains(p, "/.") {
			t.Errorf("%q: %s", group, p)
		}
	}
	if p := socket("/run/vpngw/bgp", "hq"); p != "/run/vpngw/bgp/hq.sock" {
		t.Error(p)
	}
}

// Nothing secret is among a child's arguments.
func TestArguments(t *testing.T) {
	c := Child{ASN: 4200000000, RouterID: netip.MustParseAddr("10.0.0.1"), Listen: []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("fd00::1")}, Socket: "/s"}
	b, _ := json.Marshal(c.args())
	if got, want := string(b), `["bgpd","--as","4200000000","--router-id","10.0.0.1","--listen","169.254.1.1,fd00::1","--socket","/s"]`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestTooManyRoutes(t *testing.T) {
	c := make(counts)
	list := make([]Told, 1000)
	for i := range 201 {
		for j := range list {
			n := i*len(list) + j
			list[j] = Told{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)}
		}
		if ok := c.add(told{tunnel: fmt.Sprint(i % 2), routes: list}); ok != (i < 200) {
			t.Fatalf("%d routes: %v", (i+1)*1000, ok)
		}
	}
	for i := range list {
		list[i].Withdrawn = true
	}
	if !c.add(told{tunnel: "0", routes: list}) {
		t.Error("withdrawals do not count")
	}
}
