package test

import (
	"fmt"
	"slices"
	"strings"

	"vpngw/test/lab"
)

// strongswanPackages are Debian's strongSwan with charon and swanctl.
var strongswanPackages = []string{"strongswan-charon", "strongswan-swanctl", "libstrongswan-standard-plugins", "libstrongswan-extra-plugins", "libcharon-extra-plugins"}

// swan is a charon with the kernel's ESP, or with its own in user space.
type swan struct {
	box
	userSpace bool
	vici      *lab.Charon
}

const peersCharonConf = `charon {
	load_modular = yes
	install_routes = %s
	install_virtual_ip = no
	delete_rekeyed = yes
	replay_window = 32
	retransmit_tries = 3
	plugins {
		include /etc/strongswan.d/charon/*.conf
		%s
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
	}
	filelog {
		stderr {
			default = 1
			ike = 2
			flush_line = yes
			time_format = %%T
		}
	}
}
`

// startDaemon starts a program of a box that outlives the script; its log is /tmp/daemon.log, its process id in /tmp/daemon.pid.
const startDaemon = `setsid %s </dev/null >>/tmp/daemon.log 2>&1 & echo $! >/tmp/daemon.pid`

const killDaemon = `[ ! -e /tmp/daemon.pid ] || { pid=$(cat /tmp/daemon.pid); kill -9 $pid; while kill -0 $pid; do sleep 0.1; done; rm /tmp/daemon.pid; } 2>/dev/null`

func (s *swan) launch() {
	s.kill()
	routes, esp, enter := "no", "", ""
	if s.userSpace {
		routes, esp = "yes", "kernel-libipsec {\n\t\t\tload = 100\n\t\t\traw_esp = yes\n\t\t}"
	} else {
		enter = "ip xfrm policy flush; ip xfrm state flush; "
	}
	s.Put("/tmp/strongswan.conf", fmt.Sprintf(peersCharonConf, routes, esp))
	s.Sh(enter + "rm -f /tmp/daemon.log /run/charon.pid; export STRONGSWAN_CONF=/tmp/strongswan.conf; " + fmt.Sprintf(startDaemon, "/usr/lib/ipsec/charon"))
	s.vici = s.Charon()
}

func (s *swan) load(conf string) {
	s.Put("/tmp/swanctl.conf", conf)
	s.Sh("swanctl --load-all --clear --file /tmp/swanctl.conf")
}

func (s *swan) start(c cell, self, other site) {
	s.launch()
	a := c.suites()
	esp := a.esp() + choose(c.esn, "-esn", "-noesn")
	s.load(fmt.Sprintf(`connections {
	row {
		version = %d
		local_addrs = %s
		remote_addrs = %s
		proposals = %s
		encap = %s
		mobike = no
		rekey_time = 0
		reauth_time = 0
		keyingtries = 0
		dpd_delay = 3s
		dpd_timeout = 12s
		local {
			auth = psk
			id = %s
		}
		remote {
			auth = psk
			id = %s
		}
		children {
			row {
				local_ts = %s
				remote_ts = %s
				esp_proposals = %s
				rekey_time = 0
				life_time = 0
				replay_window = 32
				dpd_action = clear
			}
		}
	}
}
secrets {
	ike-row {
		secret = "%s"
	}
}
`, c.version, self.gateway, other.gateway, a.ike(), choose(c.udp, "yes", "no"), self.gateway, other.gateway, self.subnet, other.subnet, esp, psk))
}

func (s *swan) startText(conf string) {
	s.launch()
	s.load(conf)
}

func (s *swan) kill() { s.Try(killDaemon) }

func (s *swan) initiate() error { return s.vici.Initiate("row") }

func (s *swan) rekey(ike bool) error {
	if ike {
		return s.vici.RekeyIKE("row")
	}
	return s.vici.RekeyChild("row")
}

func (s *swan) remove(ike bool) error {
	if ike {
		return s.vici.TerminateIKE("row")
	}
	return s.vici.TerminateChild("row")
}

func (s *swan) count() (ikes, children int, rests bool, saw string) {
	sas, err := s.vici.TrySAs()
	if err != nil {
		return -1, -1, false, err.Error()
	}
	usable := 0
	for _, ike := range sas {
		children += len(ike.Children)
		if ike.State == "ESTABLISHED" {
			usable++
		}
		for _, c := range ike.Children {
			if c.State == "INSTALLED" {
				usable += 1000
			}
		}
	}
	return len(sas), children, usable == 1001, fmt.Sprintf("%+v", sas)
}

func (s *swan) keys(ike bool) string {
	sas, _ := s.vici.TrySAs()
	var out []string
	for _, sa := range sas {
		if ike && sa.State == "ESTABLISHED" {
			out = append(out, sa.InitiatorSP)
		}
		for _, c := range sa.Children {
			if !ike && c.State == "INSTALLED" {
				out = append(out, c.SPIIn)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (s *swan) version() string {
	return s.Sh(`/usr/lib/ipsec/charon --version | grep -o 'strongSwan [0-9.]*'`)
}

func (s *swan) log() string {
	out, _ := s.Try("tail -60 /tmp/daemon.log; grep -v '[^0-9]0$' /proc/net/xfrm_stat; ip -s xfrm state; ip xfrm policy")
	return out
}
