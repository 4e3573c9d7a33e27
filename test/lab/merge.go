package lab

import (
	"strconv"
	"time"
)

// Coalesce has the kernel take what arrives by a cable several packets at a time, as a network card reports them: it
// looks again after a while, in place of an interrupt for each packet.
func (n *Namespace) Coalesce(device string, wait time.Duration) {
	n.lab.Helper()
	require(n.lab.T, []string{"ethtool"})
	n.Run("ethtool", "-K", device, "gro", "on")
	dir := "/sys/class/net/" + device
	n.Run("sh", "-c", "echo "+strconv.FormatInt(wait.Nanoseconds(), 10)+" >"+dir+"/gro_flush_timeout && echo 2 >"+dir+"/napi_defer_hard_irqs")
}

// MergeUDP has the kernel merge datagrams of a flow that it takes at once from a device, though it forwards them.
func (n *Namespace) MergeUDP(device string) {
	n.lab.Helper()
	n.Run("ethtool", "-K", device, "rx-udp-gro-forwarding", "on")
}
