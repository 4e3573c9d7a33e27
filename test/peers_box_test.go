package test

import (
	"strconv"
	"strings"

	"vpngw/test/lab"
)

// box is where a peer's daemon runs: a guest, or a root of its own.
type box interface {
	Try(script string) (string, error)
	Sh(script string) string
	Put(path, text string)
	Charon() *lab.Charon
}

// ikeDaemon is a peer's IKE daemon in its box, in words that all have.
type ikeDaemon interface {
	// start starts it anew, without SAs, with this end of a cell: self is its own.
	start(c cell, self, other site)
	// startText starts it anew with what vpngw has exported.
	startText(conf string)
	kill()
	initiate() error
	rekey(ike bool) error
	remove(ike bool) error
	// count counts IKE and Child SAs; it rests if none of them is being made or replaced.
	count() (ikes, children int, rests bool, saw string)
	// keys are the usable IKE SAs or Child SAs, as far as a rekey changes them.
	keys(ike bool) string
	version() string
	log() string
}

// sendDrops is how many packets the kernel of a guest dropped instead of sending them, for it had no SA for a moment: its own loss. In user
// space nobody counts them.
func sendDrops(b box) int {
	out, _ := b.Try(`awk '/^XfrmOut/ {n += $2} END {print n+0}' /proc/net/xfrm_stat 2>/dev/null`)
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	return n
}

// bring gives a guest the addresses of a gateway, and those of a host behind it.
func bring(g *lab.Guest, cloud bool) {
	gw, gw6, via, via6, host, host6 := lab.CustomerAddr+"/24", lab.CustomerAddr6+"/64", "203.0.113.254", "2001:db8:c::fe", lab.CustomerHost, lab.CustomerHost6
	if cloud {
		gw, gw6, via, via6, host, host6 = lab.CloudAddr+"/24", lab.CloudAddr6+"/64", "198.51.100.254", "2001:db8:a::fe", lab.CloudHost, lab.CloudHost6
	}
	g.Sh(`set -e
modprobe -qa esp4 esp6 xfrm_user authenc authencesn gcm ghash-generic ctr cbc seqiv echainiv drbg jitterentropy_rng hmac aesni_intel sha1_generic sha256_generic sha512_generic ||:
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 1 >/proc/sys/net/ipv4/ip_forward
for f in all default eth0; do echo 0 >/proc/sys/net/ipv4/conf/$f/rp_filter; done
for f in send_redirects accept_redirects; do for d in all default eth0; do echo 0 >/proc/sys/net/ipv4/conf/$d/$f; done; done
ip link set eth0 up
ip addr add ` + gw + ` dev eth0
ip addr add ` + gw6 + ` dev eth0 nodad
ip route add default via ` + via + `
ip -6 route add default via ` + via6 + `
ip addr add ` + host + `/32 dev lo
ip addr add ` + host6 + `/128 dev lo`)
}
