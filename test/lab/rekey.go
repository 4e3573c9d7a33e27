package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
)

// Rekey asks the daemon to rekey the Child SAs of a tunnel, or its IKE SA. It
// uses the control socket itself, because starting a program takes longer than
// a rekey. It may be called from any goroutine.
func (v *Vpngw) Rekey(tunnel string, ike bool) error {
	body, err := json.Marshal(map[string]any{"name": tunnel, "ike": ike})
	if err != nil {
		return err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", v.Control)
	}
	c := http.Client{Timeout: Patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := c.Post("http://vpngw/v1/rekey", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: rekey %s: %s", v.Name, tunnel, resp.Status)
	}
	return nil
}

// AwaitRekey waits until a tunnel has new keys: another IKE SA, or another
// Child SA.
func (v *Vpngw) AwaitRekey(before TunnelStatus, ike bool) {
	v.ns.lab.Helper()
	v.await(before.Name, Patience, "has new keys", func(t TunnelStatus) bool {
		if ike {
			return t.IKE != nil && t.IKE.State == "established" && t.IKE.SPIi != before.IKE.SPIi
		}
		return slices.ContainsFunc(t.Children, func(c ChildStatus) bool {
			return !slices.ContainsFunc(before.Children, func(old ChildStatus) bool { return old.SPIIn == c.SPIIn })
		})
	})
}
