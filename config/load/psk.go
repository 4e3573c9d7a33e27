package load

import (
	"bytes"
	"fmt"
	"slices"

	"vpngw/config/dialect"
	"vpngw/ipsec"
)

const maxPSKFile = 4096

// psk gives the tunnels their pre-shared keys: from the body or from psk_file.
func (l *loader) psk(v *dialect.Value, d *dialect.Draft) {
	file := v.Field("psk_file")
	given := slices.IndexFunc(d.Places, func(p dialect.Place) bool { return p.PSK.Given })
	switch {
	case file.Given && given >= 0:
		l.Fail(file, dialect.Conflict, "the body has a pre-shared key too (%s); give one of the two", d.Places[given].PSK.Path())
	case file.OK():
		for i := range d.Tunnels {
			l.pskFile(ofTunnel(file, i), d, i)
		}
	case !file.Given:
		for i := range d.Places {
			l.bodyPSK(d, i)
		}
	}
}

// bodyPSK checks the strength of the key in the body, and who can read it. A missing key is an error unless the
// cloud may choose it.
func (l *loader) bodyPSK(d *dialect.Draft, i int) {
	p := &d.Places[i]
	switch {
	case p.PSK.OK():
		l.weakPSK(p.PSK, d, p.PSK.Secret())
		if name := p.PSK.Node.Pos().File; othersRead(l.modes[name]) {
			l.Warn(p.PSK, dialect.Exposed, "everybody on this host can read the pre-shared key: chmod o= %s, or use psk_file", name)
		}
	case p.PSK.Given: // its table has reported what is wrong
	case p.NoPSK != "":
		l.Fail(p.PSK, dialect.Missing, "%s", p.NoPSK)
	case p.ChoosePSK != nil:
		choice := *p.ChoosePSK
		choice.Tunnel = i
		l.Chosen(p.PSK, d, choice, p.Answer+" into the body, or into a file named by psk_file beside it")
	}
}

// pskFile reads the file of a tunnel's pre-shared key, without a line end behind the key.
func (l *loader) pskFile(v *dialect.Value, d *dialect.Draft, tunnel int) {
	if !v.OK() {
		return
	}
	want := d.PSKWant
	if want == nil {
		want = func(ipsec.Secret) string { return "" }
	}
	key := l.keyFile(v, want)
	if key == nil {
		return
	}
	l.weakPSK(v, d, key)
	d.Tunnels[tunnel].PSK = key
}

// keyFile reads the file of a key, or returns nil, with the problem noted. want returns what the key must do and does not,
// or empty.
func (l *loader) keyFile(v *dialect.Value, want func(ipsec.Secret) string) ipsec.Secret {
	path := l.path(v.Text())
	data, mode, err := l.read(path, maxPSKFile)
	switch {
	case err != nil:
		l.FailFile(v, path, reason(err))
		return nil
	case othersRead(mode):
		l.Fail(v, dialect.Exposed, "everybody on this host can read the file (mode %04o): chmod o= %s", mode.Perm(), path)
		clear(data)
		return nil
	}
	key := secretOf(data)
	must := "not be empty"
	if len(key) > 0 {
		must = want(key)
	}
	if must != "" {
		l.Fail(v, dialect.Illegal, "the key in the file must %s", must)
		return nil
	}
	return key
}

// secretOf is what a key's file holds, without a line end behind the key.
func secretOf(data []byte) ipsec.Secret {
	return ipsec.Secret(bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r")))
}

// Key reads a file with a pre-shared key by the rules of psk_file.
func Key(path string) (ipsec.Secret, error) {
	data, mode, err := readFile(path, maxPSKFile, false)
	switch key := secretOf(data); {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	case othersRead(mode):
		clear(data)
		return nil, fmt.Errorf("%s: everybody on this host can read it (mode %04o): chmod o= %s", path, mode.Perm(), path)
	case len(key) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	default:
		return key, nil
	}
}
