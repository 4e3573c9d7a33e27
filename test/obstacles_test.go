package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// The daemon itself says what of its host is in the way: at its start, and when it changes; once, by a line with a code and an
// event. It changes nothing of it.
func TestTheDaemonSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	n := lab.Direct(t)
	obstacles := []struct{ code, does, undoes, says string }{
		{"forward-off", "sysctl -qw net.ipv4.conf.lan.forwarding=0", "sysctl -qw net.ipv4.conf.lan.forwarding=1", "sysctl -w net/ipv4/conf/lan/forwarding=1"},
		{"snat", "nft 'table ip masq { chain out { type nat hook postrouting priority 100; ip saddr " + lab.CustomerLAN + " masquerade; }; }'", "nft delete table ip masq", "nft insert rule ip masq out"},
		{"foreign-policy", "ip xfrm policy add src " + lab.CustomerLAN + " dst " + lab.CloudLAN + " dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel", "ip xfrm policy flush", "ip xfrm policy flush"},
		{"filter-forward", "nft 'table inet firewalld { chain passing { type filter hook forward priority 0; policy drop; }; }'", "nft delete table inet firewalld", "from the tunnel: table inet firewalld, chain passing; firewall-cmd --permanent --zone=trusted"},
		{"filter-in", "nft 'table ip filter { chain ufw-user-input { udp dport 500 drop; }; chain INPUT { type filter hook input priority 0; jump ufw-user-input; }; }'", "nft delete table ip filter", "ufw allow in proto udp from " + lab.CloudAddr + " to any port 500,4500"},
		{"leak", "ip rule add priority 100 to 10.10.0.0/16 lookup 99; ip route add default via 203.0.113.254 table 99", "ip rule del priority 100; ip route flush table 99", "10.10.0.1, which"},
	}
	do := func(of func(i int) string) {
		for i := range obstacles {
			n.Customer.Run("sh", "-c", of(i))
		}
	}
	add, remove := func(i int) string { return obstacles[i].does }, func(i int) string { return obstacles[i].undoes }
	look := func() { // a change that the daemon hears of, behind what it does not
		n.Customer.Run("sh", "-c", "ip route add 198.18.0.1/32 dev lan; ip route del 198.18.0.1/32 dev lan")
	}
	host := func() string {
		return n.Customer.Run("sh", "-c", "sysctl net.ipv4.conf.lan.forwarding; ip xfrm policy; nft list table ip masq; nft list table inet firewalld; nft list table ip filter")
	}
	do(add)
	before := host()
	gw := n.Customer.Vpngw(lab.Config{Connections: []lab.Connection{native("row", natSuites)}})
	said := func(times int) (bool, string) {
		log, events := gw.Log(), toldBy(t, gw.Command("events", "--json"))
		for _, o := range obstacles {
			told := 0
			for _, e := range events {
				if e.Code == o.code {
					told++
				}
			}
			lines := slices.DeleteFunc(strings.Split(log, "\n"), func(l string) bool { return !strings.Contains(l, "code="+o.code) || !strings.Contains(l, o.says) })
			if len(lines) != times || told < times {
				return false, o.code + ": " + strings.Join(lines, "\n") + "\n" + log
			}
		}
		return true, ""
	}
	n.Await(lab.Patience, "all obstacles are said at the start", func() (bool, string) { return said(1) })
	if after := host(); after != before {
		t.Errorf("the daemon changed the host:\n%s\nit was\n%s", after, before)
	}
	do(remove)
	look()
	n.Await(lab.Patience, "all obstacles are gone", func() (bool, string) {
		return strings.Count(gw.Log(), "no longer in the way") >= len(obstacles), gw.Log()
	})
	do(add)
	look()
	n.Await(lab.Patience, "all obstacles are said again", func() (bool, string) { return said(2) })

	// What nftables and the kernel's settings tell is seen at once, and stands in the status while it is so.
	do(remove)
	look()
	stands := func(code string, want bool) time.Duration {
		began := time.Now()
		n.Await(lab.Patience, fmt.Sprintf("%s in the status is %v", code, want), func() (bool, string) {
			st := gw.Status()
			found := slices.Concat(st.Obstacles, st.Connections[0].Tunnels[0].Obstacles)
			return slices.ContainsFunc(found, func(f lab.Obstacle) bool { return f.Code == code }) == want, fmt.Sprint(found)
		})
		return time.Since(began)
	}
	for _, o := range obstacles {
		stands(o.code, false)
	}
	heard := []int{0, 1}
	if soak {
		heard = append(heard, 3, 4)
	}
	for _, i := range heard {
		o := obstacles[i]
		n.Customer.Run("sh", "-c", o.does)
		came := stands(o.code, true)
		n.Customer.Run("sh", "-c", o.undoes)
		went := stands(o.code, false)
		t.Logf("%s stands in the status after %v, and is gone after %v", o.code, came.Round(time.Millisecond), went.Round(time.Millisecond))
		if soak && max(came, went) > 2*time.Second {
			t.Errorf("%s: after %v and %v, want 2s at most", o.code, came, went)
		}
	}
}
