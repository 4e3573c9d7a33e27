package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"vpngw/test/lab"
)

const (
	wireguardDevice = "wg0"
	wireguardPort   = 51820
)

// startWireguard joins the two by wireguard-go, set up over its own control
// socket (https://www.wireguard.com/xplatform/#configuration-protocol).
func startWireguard(s *site) tunnel {
	keyA, keyB := newKey(s), newKey(s)
	t := tunnel{device: wireguardDevice}
	t.daemons = []*lab.Process{
		s.wireguardEnd(s.a, keyA, keyB, outerB, netB),
		s.wireguardEnd(s.b, keyB, keyA, outerA, netA),
	}
	s.through(wireguardDevice)
	s.a.Run("ping", "-n", "-c", "1", "-I", innerA, "-W", "5", innerB)
	return t
}

func newKey(s *site) *ecdh.PrivateKey {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		s.Fatalf("wireguard-go: %v", err)
	}
	return k
}

// wireguardEnd starts one end. The directory of the control socket is compiled
// in, so each daemon gets a separate /run.
func (s *site) wireguardEnd(ns *lab.Namespace, own, peer *ecdh.PrivateKey, address, allowed string) *lab.Process {
	p := ns.Start("wireguard-go", "unshare", "-m", "sh", "-c",
		"mount -t tmpfs tmpfs /run && exec "+s.wireguard+" -f "+wireguardDevice)
	socket := fmt.Sprintf("/proc/%d/root/run/wireguard/%s.sock", p.PID(), wireguardDevice)
	config := fmt.Sprintf("set=1\nprivate_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s:%d\nallowed_ip=%s\n\n",
		hex.EncodeToString(own.Bytes()), wireguardPort, hex.EncodeToString(peer.PublicKey().Bytes()), address, wireguardPort, allowed)
	s.Await(lab.Patience, p.Name+" takes its configuration", func() (bool, string) {
		if !p.Running() {
			s.Fatalf("%s ended:\n%s", p.Name, p.Log())
		}
		answer, err := ask(socket, config)
		if err != nil {
			return false, err.Error()
		}
		return strings.Contains(answer, "errno=0\n"), answer
	})
	return p
}

// ask sends a request to a Unix socket and returns the answer, which ends with
// an empty line.
func ask(socket, request string) (string, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(lab.Patience))
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	var answer strings.Builder
	b := make([]byte, 4096)
	for !strings.HasSuffix(answer.String(), "\n\n") {
		n, err := c.Read(b)
		if err != nil {
			return "", err
		}
		answer.Write(b[:n])
	}
	return answer.String(), nil
}
