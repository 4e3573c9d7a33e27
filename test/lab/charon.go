package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/strongswan/govici/vici"
)

// charonPath is where Debian puts strongSwan's IKE daemon.
const charonPath = "/usr/lib/ipsec/charon"

// charonRoot is the root of another Debian, by debootstrap, whose strongSwan is the peer in place of this machine's.
var charonRoot = strings.TrimPrefix(os.Getenv("CHARON_ROOT"), "/")

// CharonTools are the programs that a test with strongSwan needs.
var CharonTools = []string{charonPath, "mount"}

// Charon is a strongSwan daemon with user-space ESP (kernel-libipsec), always
// UDP-encapsulated, driven over its vici socket.
type Charon struct {
	*Process
	ns      *Namespace
	session *vici.Session
	socket  string
	conf    string
	conns   []Conn
	secrets []secret
}

type secret struct {
	psk string
	ids []string
}

// Charon starts a strongSwan in the namespace. Settings are lines that go into
// the charon section of strongswan.conf, such as "cookie_threshold = 0", and
// replace what the lab has there.
func (n *Namespace) Charon(settings ...string) *Charon {
	n.lab.Helper()
	// The path of a Unix socket is short: 107 bytes.
	c := &Charon{ns: n, socket: filepath.Join(n.lab.Dir, n.role+".vici")}
	extra := ""
	for _, s := range settings {
		extra += "\t" + s + "\n"
	}
	c.conf = n.lab.File(n.role+"-strongswan.conf", fmt.Sprintf(strongswanConf, c.socket, extra))
	c.launch()
	return c
}

// The dhcp plugin is off because it clones every UDP packet of the namespace;
// stroke, resolve and attr because they read the machine's own files.
const strongswanConf = `charon {
	load_modular = yes
	install_routes = yes
	install_virtual_ip = no
	plugins {
		include /etc/strongswan.d/charon/*.conf
		kernel-libipsec {
			load = 100
		}
		kernel-netlink {
			load = 1
		}
		bypass-lan {
			load = no
		}
		stroke {
			load = no
		}
		resolve {
			load = no
		}
		attr {
			load = no
		}
		af-alg {
			load = no
		}
		dhcp {
			load = no
		}
		vici {
			load = yes
			socket = unix://%s
		}
	}
	filelog {
		stderr {
			default = 1
			ike = 2
			cfg = 2
			flush_line = yes
			time_format = %%T
		}
	}
%s}
`

// launch starts the program and connects to it. The path of charon's pid file
// is compiled in, so each charon gets a separate /run.
func (c *Charon) launch() {
	c.ns.lab.Helper()
	enter := ""
	if charonRoot != "" {
		enter = "mount -t tmpfs tmpfs /" + charonRoot + "/run && for d in tmp dev proc; do mount --rbind /$d /" + charonRoot + "/$d || exit; done; "
	}
	c.Process = c.ns.Start("charon", "unshare", "-m", "env", "STRONGSWAN_CONF="+c.conf,
		"sh", "-c", "mount -t tmpfs tmpfs /run && rm -f "+c.socket+"; "+enter+"exec chroot /"+charonRoot+" "+charonPath)
	c.connect()
	c.ns.Run("ip", "link", "set", "ipsec0", "txqueuelen", "10000") // for the same reason
	if err := c.widen(); err != nil {
		c.ns.lab.Fatalf("%s: receive buffers: %v", c.Name, err)
	}
}

// connect waits for the program to answer.
func (c *Charon) connect() {
	c.ns.lab.Helper()
	c.ns.lab.Await(Patience, c.Name+" answers on its vici socket", func() (bool, string) {
		c.mustRun()
		s, err := vici.NewSession(vici.WithSocketPath(c.socket))
		if err != nil {
			return false, err.Error()
		}
		if _, err = c.call(s, "version", nil); err != nil {
			s.Close()
			return false, err.Error()
		}
		c.session = s
		return true, ""
	})
	c.ns.lab.onClose(func() { c.session.Close() })
}

// Restart starts a stopped or killed charon again, with its earlier connections
// and secrets.
func (c *Charon) Restart() {
	c.ns.lab.Helper()
	c.end(9)
	c.launch()
	conns, secrets := c.conns, c.secrets
	c.conns, c.secrets = nil, nil
	for _, s := range secrets {
		c.PSK(s.psk, s.ids...)
	}
	for _, conn := range conns {
		c.Load(conn)
	}
}

func (c *Charon) call(s *vici.Session, command string, in any) (*vici.Message, error) {
	m := vici.NewMessage()
	if in != nil {
		var err error
		if m, err = vici.MarshalMessage(in); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	return s.Call(ctx, command, m)
}

// PSK gives charon a pre-shared key that is valid for the identities, for all
// if there are none. It replaces one for the same identities.
func (c *Charon) PSK(psk string, ids ...string) {
	c.ns.lab.Helper()
	c.secrets = append(slices.DeleteFunc(c.secrets, func(s secret) bool { return slices.Equal(s.ids, ids) }), secret{psk, ids})
	_, err := c.call(c.session, "load-shared", struct {
		ID     string   `vici:"id"`
		Type   string   `vici:"type"`
		Data   string   `vici:"data"`
		Owners []string `vici:"owners"`
	}{"psk " + strings.Join(ids, " "), "IKE", psk, ids})
	if err != nil {
		c.ns.lab.Fatalf("%s: load-shared: %v", c.Name, err)
	}
}

// Load gives charon a connection; one of the same name is replaced.
func (c *Charon) Load(conn Conn) {
	c.ns.lab.Helper()
	c.conns = append(slices.DeleteFunc(c.conns, func(o Conn) bool { return o.Name == conn.Name }), conn)
	if _, err := c.call(c.session, "load-conn", map[string]Conn{conn.Name: conn}); err != nil {
		c.ns.lab.Fatalf("%s: load-conn %s: %v", c.Name, conn.Name, err)
	}
}

// LoadText gives charon the connections and secrets of a swanctl.conf, by swanctl itself.
// They are lost by a Restart.
func (c *Charon) LoadText(conf string) {
	c.ns.lab.Helper()
	path := c.ns.lab.File(c.ns.role+"-swanctl.conf", conf)
	if out, err := c.ns.Try("swanctl", "--load-all", "--clear", "--file", path, "--uri", "unix://"+c.socket); err != nil {
		c.ns.lab.Fatalf("%s: swanctl --load-all: %v\n%s\n%s", c.Name, err, out, conf)
	}
}

// Initiate brings up a child, and its IKE SA if there is none. The error is
// charon's message.
func (c *Charon) Initiate(child string) error {
	return c.control("initiate", map[string]any{"child": child, "timeout": "20000"})
}

// TerminateIKE deletes the IKE SAs of a connection, TerminateChild Child SAs.
func (c *Charon) TerminateIKE(conn string) error {
	return c.control("terminate", map[string]any{"ike": conn, "timeout": "10000"})
}

// TerminateChild deletes the Child SAs of that name.
func (c *Charon) TerminateChild(child string) error {
	return c.control("terminate", map[string]any{"child": child, "timeout": "10000"})
}

// RekeyChild starts the rekeying of a Child SA and returns at once.
func (c *Charon) RekeyChild(child string) error {
	return c.control("rekey", map[string]any{"child": child})
}

// RekeyIKE starts the rekeying of an IKE SA and returns at once.
func (c *Charon) RekeyIKE(conn string) error {
	return c.control("rekey", map[string]any{"ike": conn})
}

func (c *Charon) control(command string, in map[string]any) error {
	_, err := c.call(c.session, command, in)
	return err
}

// Algorithms returns charon's algorithms by kind ("encryption", "integrity",
// "aead", "prf", "ke"), under its own names.
func (c *Charon) Algorithms() map[string][]string {
	c.ns.lab.Helper()
	m, err := c.call(c.session, "get-algorithms", nil)
	if err != nil {
		c.ns.lab.Fatalf("%s: get-algorithms: %v", c.Name, err)
	}
	out := map[string][]string{}
	for _, kind := range m.Keys() {
		if section, ok := m.Get(kind).(*vici.Message); ok {
			out[kind] = section.Keys()
		}
	}
	return out
}

// SAs lists charon's IKE SAs with their Child SAs.
func (c *Charon) SAs() []IKESA {
	c.ns.lab.Helper()
	out, err := c.list()
	if err != nil {
		c.ns.lab.Fatalf("%s: list-sas: %v", c.Name, err)
	}
	return out
}

// TrySAs is SAs of a charon that may not answer.
func (c *Charon) TrySAs() ([]IKESA, error) { return c.list() }

// list opens its own vici session and reads the events itself: govici's
// CallStreaming (0.8.0) may end before the last event, because it selects at
// random between the events and the response that follows them.
func (c *Charon) list() ([]IKESA, error) {
	s, err := vici.NewSession(vici.WithSocketPath(c.socket))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	events := make(chan vici.Event, 4096)
	s.NotifyEvents(events)
	if err := s.Subscribe("list-sa"); err != nil {
		return nil, err
	}
	if _, err := c.call(s, "list-sas", nil); err != nil {
		return nil, err
	}
	var out []IKESA
	for {
		var m *vici.Message
		select {
		case e := <-events:
			m = e.Message
		default: // the events came before the response that call has waited for
			return out, nil
		}
		for _, name := range m.Keys() {
			section, ok := m.Get(name).(*vici.Message)
			if !ok {
				continue
			}
			sa := IKESA{Name: name}
			if err := vici.UnmarshalMessage(section, &sa); err != nil {
				return nil, err
			}
			out = append(out, sa)
		}
	}
}

// AwaitUp waits until charon has an installed Child SA of that name.
func (c *Charon) AwaitUp(child string, within time.Duration) {
	c.ns.lab.Helper()
	c.ns.lab.Await(within, c.Name+" has "+child, func() (bool, string) {
		sas := c.SAs()
		for _, ike := range sas {
			for _, sa := range ike.Children {
				if sa.Name == child && sa.State == "INSTALLED" {
					return true, ""
				}
			}
		}
		return false, fmt.Sprintf("%+v", sas)
	})
}
