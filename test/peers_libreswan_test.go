package test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// libreswanPackages are Debian's Libreswan. debootstrap does not find what "host" is.
var libreswanPackages = []string{"libreswan", "bind9-host"}

// libre is a pluto.
type libre struct {
	box
	rekeyChild string // whack's option
	version1   bool   // what it was started with is IKEv1
}

// libreNames are Libreswan's names of algorithms.
var libreNames = strings.NewReplacer("aes256gcm16", "aes_gcm256", "prfsha", "sha2_", "sha256", "sha2_256", "sha384", "sha2_384", "sha512", "sha2_512",
	"modp2048", "dh14", "ecp256", "dh19", "ecp384", "dh20", "ecp521", "dh21")

const whack = "/usr/libexec/ipsec/whack "

// launch starts pluto, which reads its configuration by itself.
func (l *libre) launch(conf, secrets string) {
	l.kill()
	l.Put("/etc/ipsec.conf", "config setup\n    ikev1-policy=accept\n\ninclude /etc/ipsec.d/*.conf\n")
	l.Put("/etc/ipsec.secrets", "include /etc/ipsec.d/*.secrets\n")
	l.Put("/etc/ipsec.d/row.conf", conf)
	l.Put("/etc/ipsec.d/row.secrets", secrets)
	l.Sh("ip xfrm policy flush; ip xfrm state flush; rm -f /tmp/daemon.log /run/pluto/*; mkdir -p /run/pluto; [ -e /var/lib/ipsec/nss/cert9.db ] || ipsec initnss >/dev/null; " +
		fmt.Sprintf(startDaemon, "/usr/libexec/ipsec/pluto --config /etc/ipsec.conf --nofork --stderrlog") + `
i=0; until grep -q 'loaded 1 \|added connection\|: added ' /tmp/daemon.log && grep -qi 'listening for IKE' /tmp/daemon.log && ` + whack + `--briefstatus >/dev/null 2>&1; do
	if grep 'failed to add connection' /tmp/daemon.log; then exit 1; fi
	sleep 0.1; i=$((i+1)); [ $i -lt 1000 ] || { tail -40 /tmp/daemon.log; exit 1; }
done`)
}

func (l *libre) start(c cell, self, other site) {
	l.version1 = c.version == 1
	a := c.suites()
	esp := libreNames.Replace(a.esp())
	if aead(a.espEncr) {
		esp = strings.Replace(esp, "-", ";", 1)
	}
	// Of IKEv1 it does not rekey the IKE SA when it is told to, only some time before its end.
	more := "    ikelifetime=70s\n    rekeymargin=30s\n    rekeyfuzz=0%\n"
	if c.version == 2 {
		more = "    retransmit-timeout=30s\n    esn=" + choose(c.esn, "yes", "no") + "\n"
	}
	l.launch(fmt.Sprintf(`conn row
    auto=add
    authby=secret
    type=tunnel
    ikev2=%s
    left=%s
    leftsubnet=%s
    right=%s
    rightsubnet=%s
    ike=%s
    esp=%s
    pfs=yes
    encapsulation=%s
    mobike=no
    replay-window=32
    dpddelay=3
    dpdtimeout=12
    dpdaction=clear
%s`, choose(c.version == 2, "yes", "no"), self.gateway, self.subnet, other.gateway, other.subnet, libreNames.Replace(a.ike()), esp,
		choose(c.udp, "yes", "auto"), more),
		fmt.Sprintf("%s %s : PSK \"%s\"\n", self.gateway, other.gateway, psk))
}

// startText has the lines for the secrets behind a # each, as their own text says.
func (l *libre) startText(conf string) {
	_, secrets, _ := strings.Cut(conf, "which nobody else may read;")
	_, secrets, _ = strings.Cut(secrets, "there.\n")
	l.launch(conf, strings.ReplaceAll(secrets, "# ", ""))
}

func (l *libre) kill() { l.Try(killDaemon) }

func (l *libre) whack(options string) error {
	out, err := l.Try(whack + options)
	if err != nil {
		return errors.New(strings.TrimSpace(out))
	}
	return nil
}

func (l *libre) initiate() error { return l.whack("--name row --initiate") }

// rekey of IKEv1 is another quick mode, and of its IKE SA a matter of time.
func (l *libre) rekey(ike bool) error {
	switch {
	case l.version1 && ike:
		return nil
	case l.version1:
		return l.whack("--name row --initiate --asynchronous")
	}
	return l.whack("--name row --asynchronous " + choose(ike, "--rekey-ike", l.rekeyChild))
}

// states are the lines about SAs.
func (l *libre) states() string {
	out, _ := l.Try(whack + "--showstates")
	return out
}

var (
	libreIKE   = regexp.MustCompile(`(?im)^.*#(\d+): "row.*(established IKE SA|(IKE|ISAKMP) SA established|ESTABLISHED_IKE_SA).*$`)
	libreChild = regexp.MustCompile(`(?im)^.*#(\d+): "row.*(established Child SA|IPsec SA established|ESTABLISHED_CHILD_SA).*$`)
	// libreBusy is an SA in the making that replaces one; a phase 1 that another has overtaken may stay for two minutes.
	libreBusy = regexp.MustCompile(`(?m)^.*#\d+: "row.* STATE_(V2_NEW|V2_REKEY|QUICK_R0|QUICK_R1|QUICK_I1).*$`)
)

func (l *libre) remove(ike bool) error {
	if ike {
		return l.whack("--name row --terminate")
	}
	m := libreChild.FindStringSubmatch(l.states())
	if m == nil {
		return errors.New("no Child SA")
	}
	return l.whack("--deletestate " + m[1])
}

func (l *libre) count() (ikes, children int, rests bool, saw string) {
	saw = l.states()
	ikes, children = len(libreIKE.FindAllString(saw, -1)), len(libreChild.FindAllString(saw, -1))
	return ikes, children, ikes > 0 && children > 0 && !libreBusy.MatchString(saw), saw
}

func (l *libre) keys(ike bool) string {
	kind := libreChild
	if ike {
		kind = libreIKE
	}
	var out []string
	for _, m := range kind.FindAllStringSubmatch(l.states(), -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (l *libre) version() string {
	return strings.TrimPrefix(strings.TrimSpace(l.Sh("/usr/libexec/ipsec/pluto --version")), "Linux ")
}

func (l *libre) log() string {
	out, _ := l.Try("tail -60 /tmp/daemon.log; grep -v '[^0-9]0$' /proc/net/xfrm_stat; ip -s xfrm state; ip xfrm policy")
	return out
}
