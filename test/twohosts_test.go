package test

import (
	"os"
	"strings"
	"testing"
	"time"

	"vpngw/test/lab"
)

// Two hosts with the same files, of which VRRP gives one the addresses, as docs/high-availability.md has it. The host that
// has them dies, and the other one has the tunnel; the first comes back and changes nothing.
func TestTheSecondHostTakesOver(t *testing.T) {
	t.Parallel()
	n := lab.TwoHosts(t, "keepalived")
	page, err := os.ReadFile("../docs/high-availability.md")
	if err != nil {
		t.Fatal(err)
	}
	conf := ""
	for _, b := range blocks(string(page)) {
		if b.options["on"] == "gw1" {
			conf = b.text
		}
	}
	second := strings.NewReplacer("203.0.113.11", "203.0.113.12", "203.0.113.12", "203.0.113.11",
		"192.168.3.2", "192.168.3.3", "192.168.3.3", "192.168.3.2", "priority 150", "priority 100").Replace(conf)
	body := lab.Connection{Alibaba: alibaba("hq")}
	cloud := n.Cloud.Vpngw(bodies("cloud", body))
	ours := bodies("customer", body)
	ours.Listen = []string{lab.CustomerAddr}
	gw2 := n.Customer2.Vpngw(ours)
	gw1 := n.Customer.Vpngw(ours)
	vrrp1 := n.Customer.Keepalived(conf)
	gw1.AwaitUp("hq")
	n.Customer2.Keepalived(second)
	flow := n.StartFlow(n.Host, lab.CustomerHost, n.CloudHost, lab.CloudHost, 200)
	time.Sleep(time.Second) // the flow's share before the failure

	died := time.Now()
	n.Unplug(n.Customer)
	vrrp1.Kill()
	gw1.Kill()
	gw2.AwaitUp("hq")
	n.Host.Reaches(lab.CloudHost)
	took := time.Since(died)
	if took > within(8*time.Second) {
		t.Errorf("the second host took over after %v", took)
	}
	cloud.AwaitUp("hq")
	if st := cloud.Tunnel("hq"); len(st.Children) != 1 {
		t.Errorf("the cloud's end has %d Child SAs, and the first host's are gone", len(st.Children))
	}
	n.Plug(n.Customer)
	back := n.Customer.Keepalived(conf)
	gw1.Restart()
	back.AwaitLog("Entering BACKUP STATE")
	time.Sleep(5 * time.Second) // three advertisements and more, after which a host takes over that does not hear the other one or does not care
	there, here := flow.Stop()
	t.Logf("the second host had the tunnel after %v; there: %v; back: %v", took.Round(10*time.Millisecond), there, here)
	if strings.Contains(back.Log(), "Entering MASTER STATE") {
		t.Errorf("the first host came back and took the addresses:\n%s", back.Log())
	}
	if st := gw2.Tunnel("hq"); st.State != "up" {
		t.Errorf("the first host came back, and the second is %s: %s", st.State, st.Why)
	}
	if st := gw1.Tunnel("hq"); st.State == "up" {
		t.Errorf("the first host came back as the second, and its tunnel is up")
	}
	gw2.Stop()
	cloud.Stop()
}
