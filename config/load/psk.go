package load

import (
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
			l.pskFile(ofTunnel(file, d.Before+i), d, i)
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
		for _, s := range doubts(p.PSK.Secret()) {
			l.Warn(p.PSK, dialect.Doubtful, "the key %s", s)
		}
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
	key, said := keyOf(data)
	must := "not be empty"
	if len(key) > 0 {
		must = want(key)
	}
	if must != "" {
		for _, s := range said {
			must += "; " + s
		}
		l.Fail(v, dialect.Illegal, "the key in the file must %s", must)
		return nil
	}
	for _, s := range said {
		l.Warn(v, dialect.Doubtful, "%s", s)
	}
	return key
}

// Key reads a file with a pre-shared key by the rules of psk_file.
// said is what in the file may not be meant, a sentence each.
func Key(path string) (key ipsec.Secret, said []string, err error) {
	data, mode, err := newPlaces().readFile(path, maxPSKFile, false)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("%s: %w", path, reason(err))
	case othersRead(mode):
		clear(data)
		return nil, nil, fmt.Errorf("%s: everybody on this host can read it (mode %04o): chmod o= %s", path, mode.Perm(), path)
	}
	if key, said = keyOf(data); len(key) == 0 {
		return nil, nil, fmt.Errorf("%s is empty", path)
	}
	for i := range said {
		said[i] = path + ": " + said[i]
	}
	return key, said, nil
}
