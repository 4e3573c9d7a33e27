package tree

import (
	"fmt"
	"strings"
	"testing"
)

// flat prints a node in one line.
func flat(n *Node) string {
	switch {
	case n == nil:
		return "nothing"
	case n.Kind == Scalar:
		return fmt.Sprintf("%q", n.Text)
	}
	var parts []string
	for _, item := range n.Items() {
		if n.Kind == List {
			parts = append(parts, flat(item))
		}
	}
	if n.Kind == List {
		return "[" + strings.Join(parts, " ") + "]"
	}
	for k, v := range n.Pairs() {
		parts = append(parts, k.Text+":"+flat(v))
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func TestRequests(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"Action=Create", `{Action:"Create"}`},
		{"a=1&b=x+y%2Fz%e6%80%bb", `{a:"1" b:"x y/z总"}`},
		{"https://h/?a=1&b=2", `{a:"1" b:"2"}`},
		{"http(s)://[Endpoint]/?Action=C\n&a=1 \n&b=2, 3\n&<Common request parameters>", `{Action:"C" a:"1" b:"2, 3"}`},
		{"\n https://h/?Action=C\n&a=1\n&<CommonParameters>\n\n", `{Action:"C" a:"1"}`},
		{"a.b=1&a.c.2=y&a.c.1=x&d=", `{a:{b:"1" c:["x" "y"]} d:""}`},
		{"a.0.b.0=x&a.0.b.1=y&a.1.b.0=z", `{a:[{b:["x" "y"]} {b:["z"]}]}`},
		{"T.1.K.P=p&T.2.K.P=q&T.1.R=m", `{T:[{K:{P:"p"} R:"m"} {K:{P:"q"}}]}`},
		{`a={"k":"a&b=c%+}"}&b=1`, `{a:"{\"k\":\"a&b=c%+}\"}" b:"1"}`},
		{`a=%7B%22k%22%3A1%7D&b=1`, `{a:"{\"k\":1}" b:"1"}`},
		{`POST https://{Endpoint}/v5/{project_id}/c { "a": {"b": [1]} }`, `{a:{b:["1"]}}`},
		{"POST / HTTP/1.1\nHost: h\nX-TC-Action: C\n<Common request parameters>\n\n{\"a\": 1}", `{a:"1"} Host X-TC-Action`},
		{"POST / HTTP/1.1\r\nHost: h\r\n\r\na=1&b=2", `{a:"1" b:"2"} Host`},
		{"post https://h/?q=0 HTTP/1.1\nHost: h\n\n{\"a\": 1}", `{q:"0" a:"1"} Host`},
		{"GET https://h/?q=0&r=1", `{q:"0" r:"1"}`},
		{"POST https://h/?Action=C\n&a=1", `{Action:"C" a:"1"}`},
		{"HTTP/1.1 200 OK\nContent-Type:application/json\n{\"a\" : 1}", `{a:"1"} Content-Type`},
		{"POST https://h/", `{}`},
		{"1=a&2=b", `{1:"a" 2:"b"}`},
	} {
		check := func(form string, r *Request, errs []Error) {
			t.Helper()
			if r == nil || len(errs) > 0 {
				t.Errorf("%s %q: %v", form, tt.text, errs)
				return
			}
			got := flat(r.Root)
			for _, h := range r.Headers {
				got += " " + h.Text
			}
			if got != tt.want {
				t.Errorf("%s %q:\ngot  %s\nwant %s", form, tt.text, got, tt.want)
			}
		}
		n := &Node{Text: tt.text, src: &source{name: "f", text: tt.text}}
		r, errs := n.Request(NewBudget())
		check("text", r, errs)
		if startsRequest(tt.text) || strings.Contains(tt.text, "Action=") {
			r, errs = ReadBody("f", []byte(tt.text), NewBudget())
			check("file", r, errs)
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"Action=C&b", "1:10: an equals sign is missing"},
		{"Action=%4", "1:8: two hexadecimal digits"},
		{"Action=%zz", "1:8: two hexadecimal digits"},
		{"Action=%ff", "1:8: it stands for a byte that no character has"},
		{"Action=%00", "1:8: it stands for a byte"},
		{"Action=C&Action=D", "1:10: this parameter stands in the request twice"},
		{"Action=C&a.b=1&a=2", "1:16: this parameter stands in the request twice"},
		{"Action=C&a=2&a.b=1", "1:10: this parameter stands in the request twice"},
		{"Action=C&a.1=x&a.3=y", "1:10: the entries of a list are counted"},
		{"Action=C&a.0=x&a.2=y", "1:10: the entries of a list are counted"},
		{"Action=C&a..b=x", "1:10: not the name of a parameter"},
		{"Action=C&=x", "1:10: not the name of a parameter"},
		{"Action=C&" + strings.Repeat("a.", 20) + "b=x", "1:10: a name of more than 16 parts"},
		{"Action=C&<Common", "1:10: a > is missing"},
		{`Action=C&a={"b":1} x&c=d`, "1:20: unexpected text behind a value"},
		{"POST / HTTP/1.1\nHost h", "2:1: neither a header line"},
		{"POST / HTTP/1.1\nHost: h\n\n{\"a\": }", "4:7: a text cannot begin"},
		{"HTTP/1.1 200 OK\nContent-Type: application/xml\n<a>\n<b>1</b></a>", "3:1: XML is not read"},
	} {
		r, errs := ReadBody("f", []byte(tt.text), NewBudget())
		if len(errs) == 0 || !strings.HasPrefix(errs[0].Error(), "f:"+tt.want) {
			t.Errorf("%.60q: got %v, %v; want %s", tt.text, r, errs, tt.want)
		}
	}
}

// A problem inside a request is told where it stands in the file, however the request is written there.
func TestPlacesInRequests(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"a: 'Action=C&b=here'", "1:16"},
		{"a: Action=C&b=here", "1:15"},
		{"a: \"Action=C\\u0026b=here\"", "1:21"},
		{"a: |\n  Action=C\n  &b=here\n", "3:6"},
		{"a:\n - >\n    Action=C\n    &b=here\n", "4:8"},
		{"a: |-\n\n  POST / HTTP/1.1\n  Host: h\n\n  {\"b\":\n    \"here\"}", "7:5"},
		{"a: 'Action=C&c={\"b\":\"here\"}'", "1:21"},
		{"a: 'Action=C&c=%7B%22b%22:%22here%22}'", "1:27"},
	} {
		root, errs := Read("f", []byte(tt.text), NewBudget())
		if root == nil {
			t.Fatal(errs)
		}
		n := root.kids[1]
		if n.Kind == List {
			n = n.kids[0]
		}
		r, errs := n.Request(NewBudget())
		if r == nil {
			t.Errorf("%q: %v", tt.text, errs)
			continue
		}
		var at *Node
		var look func(n *Node)
		look = func(n *Node) {
			if n.LooksLikeJSON() {
				inner, _ := n.JSON(NewBudget())
				look(inner)
			}
			for i, k := range n.kids {
				if k.Text == "here" {
					at = n.kids[i]
				}
				look(k)
			}
		}
		if look(r.Root); at == nil {
			t.Errorf("%q: got %s", tt.text, flat(r.Root))
		} else if got := fmt.Sprintf("%d:%d", at.Pos().Line, at.Pos().Column); got != tt.want {
			t.Errorf("%q: it stands at %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestFileNamesAreNoRequests(t *testing.T) {
	for _, s := range []string{"body.json", "/etc/vpngw/post.json", "http.json", "posts/a", "a=b.json", "requests/Action.txt", "", "GET", "RegionId: a=b&c"} {
		if IsRequest(s) {
			t.Errorf("%q is taken for a request", s)
		}
	}
}

// FuzzRequest: no panic, and every node and error has its place in the text.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"Action=C&a.1=x&a.2=%7B%22b%22%3A1%7D", "http(s)://[Endpoint]/?Action=C\n&a=1\n&<Common request parameters>",
		"POST https://{E}/v5/{p}/c { \"a\": {\"b\": [1]} }", "POST / HTTP/1.1\nHost: h\n\n{\"a\": 1}", "HTTP/1.1 200 OK\n\n{}",
		"a: |\n  Action=C\n  &b=here\n", "a: \"Action=C\\u0026b=here\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		lines := strings.Count(string(in), "\n") + 1
		var look func(n *Node)
		look = func(n *Node) {
			if p := n.Pos(); p.Line < 1 || p.Line > lines || p.Column < 1 {
				t.Fatalf("%q stands at %v", n.Text, p)
			}
			if n.LooksLikeJSON() {
				if inner, _ := n.JSON(NewBudget()); inner != nil {
					look(inner)
				}
			}
			for _, k := range n.kids {
				look(k)
			}
		}
		try := func(r *Request, errs []Error) {
			if r == nil && len(errs) == 0 {
				t.Fatal("nothing, and no error")
			}
			for _, e := range errs {
				if e.Line < 1 || e.Line > lines {
					t.Fatalf("error at %v", e)
				}
			}
			if r != nil && r.Root != nil {
				look(r.Root)
			}
		}
		b := NewBudget()
		b.nodes = 10_000
		try(ReadBody("f", in, b))
		root, _ := Read("f", in, b)
		if root != nil && root.Kind == Map && len(root.kids) > 0 && root.kids[1].Kind == Scalar {
			try(root.kids[1].Request(b))
		}
	})
}
