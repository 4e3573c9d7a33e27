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

// HTTP is a client of the daemon's control socket, whatever host a URL has. It may be used from any goroutine.
func (v *Vpngw) HTTP() *http.Client {
	return &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", v.Control)
	}}}
}

// Rekey asks the daemon to rekey the Child SAs of a tunnel, or its IKE SA. It
// uses the control socket itself, because starting a program takes longer than
// a rekey. It may be called from any goroutine.
func (v *Vpngw) Rekey(tunnel string, ike bool) error {
	body, err := json.Marshal(map[string]any{"name": tunnel, "ike": ike})
	if err != nil {
		return err
	}
	resp, err := v.HTTP().Post("http://vpngw/v1/rekey", "application/json", bytes.NewReader(body))
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
