package esp

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vpngw/ipsec"
)

func (e *end) freeze() Frozen {
	e.t.Helper()
	f, err := e.plane.Freeze()
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

// thawed is another end, with the plane that f is the state of.
func thawed(t testing.TB, which int, f Frozen) *end {
	t.Helper()
	e := newEnd(t, which)
	if err := e.plane.Thaw(f); err != nil {
		t.Fatal(err)
	}
	return e
}

// A reply is a packet from b's hosts to a's.
func reply() []byte {
	return ipPacketOf(host(false, 2, 2), host(false, 1, 1), protoUDP, make([]byte, 100))
}

func TestAThawedPlaneGoesOn(t *testing.T) {
	for _, s := range allSuites() {
		for k := range numTransports {
			if k != udp4 && s.Suite != named(t, "aes128gcm16") {
				continue
			}
			t.Run(fmt.Sprintf("%v-%d", s, k), func(t *testing.T) {
				a, b := newEnd(t, 0), newEnd(t, 1)
				lifetime := ipsec.Lifetime{Packets: 1 << 30}
				sa, sb := couple(t, a, b, s, k, func(sa *ipsec.ChildSA) { sa.Lifetime = lifetime })
				out := udpPacket(false, 1, 2, 100)
				for range 3 {
					b.in(k, from(endAddrs[0][k], a.out(out))...)
				}
				old, late := from(endAddrs[1][k], b.out(reply())), from(endAddrs[1][k], b.out(reply()))
				a.in(k, old...)
				before, heard := a.plane.Counters(sa.SPIIn), a.plane.LastInbound(sa.SPIIn)
				a = thawed(t, 0, a.freeze())

				if got := a.plane.Counters(sa.SPIIn); !reflect.DeepEqual(got, before) || got.PacketsOut != 3 {
					t.Errorf("counters %+v, want %+v", got, before)
				}
				if got := a.plane.LastInbound(sa.SPIIn); !got.Round(0).Equal(heard.Round(0)) {
					t.Errorf("heard at %v, want %v", got, heard)
				}
				if got := a.in(k, old...); len(got) != 0 {
					t.Error("a packet is replayed")
				}
				wantDrops(t, a, sa.SPIIn, map[string]uint64{"replay": 1})
				if got := a.in(k, late...); len(got) != 1 {
					t.Error("a packet that was on its way meanwhile is lost")
				}
				ds := a.out(out)
				if len(ds) != 1 || sequence(ds[0].Data) != 3+thawSkip+1 {
					t.Fatalf("sent %d datagrams", len(ds))
				}
				if got := b.in(k, from(endAddrs[0][k], ds)...); len(got) != 1 {
					t.Errorf("the peer does not take it: %v", b.plane.Counters(sb.SPIIn).Drops)
				}
				o := a.tunnel.spd.Load().outs[0]
				if o.quota.packets != 4 || o.quota.hardPackets != lifetime.Packets || a.plane.sad.lookup(sa.SPIIn).quota.packets != 2 {
					t.Errorf("quotas %+v", o.quota)
				}
			})
		}
	}
}

// Freezing and thawing a plane changes nothing in its state but the outbound sequence numbers.
func TestFrozenTwiceIsTheSame(t *testing.T) {
	a, b := newEnd(t, 0), newEnd(t, 1)
	for i, proposal := range []string{"aes128gcm16", "aes128-sha256", "aes256gcm16-esn", "3des-md5"} {
		sa, sb := couple(t, a, b, suite{Suite: named(t, proposal)}, udp4, func(sa *ipsec.ChildSA) {
			sa.Follow, sa.Lifetime = i > 1, ipsec.Lifetime{Bytes: 1 << 40, Packets: 1 << 30}
			sa.Created = time.Now().Round(0)
		})
		a.out(udpPacket(false, 1, 2, 100))
		a.in(udp4, from("198.51.100.7:1024", b.out(reply(), reply()))...)
		a.in(udp4, ipsec.Datagram{Remote: sb.Path.Local, Data: make([]byte, 3)})
		if i == 1 {
			a.plane.Hold(sa.SPIIn)
		}
	}
	inOnly, _ := agree(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	if err := a.plane.InstallIn(inOnly); err != nil {
		t.Fatal(err)
	}
	if _, err := a.plane.AllocSPI(); err != nil {
		t.Fatal(err)
	}
	f := a.freeze()
	held, moved := 0, 0
	for i := range f.SAs {
		if f.SAs[i].Held {
			held++
		}
		if !f.SAs[i].MovedAt.IsZero() {
			moved++
		}
	}
	if len(f.SAs) != 5 || len(f.Reserved) != 1 || held != 1 || moved != 2 || len(f.Tunnels) != 1 || f.Counters.Drops["malformed"] != 4 {
		t.Fatalf("the frozen state is %+v", f)
	}
	a = thawed(t, 0, f)
	if moved, _ := a.plane.Moves(time.Now()); len(moved) != 2 {
		t.Errorf("moves told after the thaw: %+v", moved)
	}
	a = thawed(t, 0, f) // with the moves still to tell
	again := a.freeze()
	for i := range f.SAs {
		if f.SAs[i].Order > 0 {
			f.SAs[i].Sequence += thawSkip
		}
		for _, s := range []*FrozenSA{&f.SAs[i], &again.SAs[i]} {
			s.LastInbound = s.LastInbound.Round(time.Microsecond) // two epochs
		}
	}
	if !reflect.DeepEqual(f, again) {
		t.Errorf("frozen again:\ngot  %+v\nwant %+v", again, f)
	}
}

// New SAs and SPIs come after the old ones.
func TestAThawedPlaneTakesNewSAs(t *testing.T) {
	a, b, sa, _ := ends(t, "aes128gcm16", udp4, nil)
	reserved, err := a.plane.AllocSPI()
	if err != nil {
		t.Fatal(err)
	}
	a = thawed(t, 0, a.freeze())
	taken := map[uint32]bool{sa.SPIIn & 255: true, reserved & 255: true}
	na, _ := agree(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	na.SPIIn = reserved // an exchange that was under way
	if a.plane.InstallIn(na) != nil || a.plane.InstallOut(na) != nil {
		t.Fatal("the SPI that was reserved is not")
	}
	if ds := a.out(udpPacket(false, 1, 2, 100)); len(ds) != 1 || spiOf(ds[0]) != na.SPIOut {
		t.Error("the newest SA is not used")
	}
	for range 256 - 3 { // agree has taken one
		spi, err := a.plane.AllocSPI()
		if err != nil {
			t.Fatal(err)
		}
		if taken[spi&255] {
			t.Fatalf("slot %d is given out twice", spi&255)
		}
		taken[spi&255] = true
	}
	if _, err := a.plane.AllocSPI(); err == nil {
		t.Error("there are more SPIs than slots")
	}
	a.plane.Remove(sa.SPIIn)
	a.plane.FreeSPI(reserved) // installed
	if spi, err := a.plane.AllocSPI(); err != nil || spi&255 != sa.SPIIn&255 {
		t.Errorf("after a removal: %08x, %v", spi, err)
	}
}

func TestAFrozenPlaneCarriesNothing(t *testing.T) {
	a, b, sa, _, kept := heldPair(t, 3)
	in := from(endAddrs[1][udp4], b.out(reply()))
	a.freeze()
	a.plane.Resume(sa.SPIIn)
	a.plane.Hold(sa.SPIIn)
	a.plane.Resume(sa.SPIIn)
	if ds := append(a.socks[udp4].take(), a.out(kept...)...); len(ds) != 0 {
		t.Errorf("sent %d datagrams", len(ds))
	}
	wantDrops(t, a, sa.SPIIn, map[string]uint64{"frozen": 6})
	if got := a.in(udp4, in...); len(got) != 0 {
		t.Error("a packet is accepted")
	}
	if got := a.plane.PlaneCounters().Drops; !maps.Equal(got, map[string]uint64{"frozen": 7}) {
		t.Errorf("dropped %v", got)
	}
	a.in(udp4, ipsec.Datagram{Data: make([]byte, 40)})
	if got := a.told(); len(got) != 0 || len(a.ike) != 1 {
		t.Errorf("told %+v, %d IKE messages", got, len(a.ike))
	}
	_, err := a.plane.AllocSPI()
	_, again := a.plane.Freeze()
	for i, err := range []error{err, again, a.plane.InstallIn(sa), a.plane.InstallOut(sa), a.plane.Thaw(Frozen{})} {
		if err != errFrozen {
			t.Errorf("call %d: %v", i, err)
		}
	}
	a.plane.Remove(sa.SPIIn) // as an end does it
	a.plane.RemoveTunnel("t")
}

// nonces collects the IVs of packets, by SPI. The IV of an AEAD is its nonce without the salt.
type nonces map[string]bool

func (n nonces) add(t *testing.T, ivLen int, ds []ipsec.Datagram) {
	t.Helper()
	for _, d := range ds {
		for _, d := range split(d) {
			if iv := string(d.Data[:4]) + string(d.Data[espHeader:][:ivLen]); n[iv] {
				t.Fatalf("SPI %08x: IV %x is used twice", spiOf(d), iv[4:])
			} else {
				n[iv] = true
			}
		}
	}
}

func TestNoNonceRepeatsAfterAThaw(t *testing.T) {
	for _, s := range allSuites() {
		encr := ipsec.Lookup(s.Encr)
		if encr.IV == 0 {
			continue
		}
		a, b := newEnd(t, 0), newEnd(t, 1)
		couple(t, a, b, s, udp4, nil)
		seen := nonces{}
		ivKey := func() string { return string(a.tunnel.spd.Load().outs[0].sealer.ivKey) }
		key := ivKey()
		for range 3 {
			for range 50 {
				seen.add(t, encr.IV, a.out(udpPacket(false, 1, 2, 100)))
			}
			f := a.freeze()
			seen.add(t, encr.IV, a.out(udpPacket(false, 1, 2, 100)))
			// Saved half a second before a crash: the last packets are not in it.
			f.SAs[0].Sequence -= 40
			a = thawed(t, 0, f)
			if ivKey() != key { // the IV of a sequence number stays unique only under the one key
				t.Errorf("%v: another key for IVs", s)
			}
		}
		if len(seen) != 150 {
			t.Errorf("%v: %d IVs", s, len(seen))
		}
	}
}

// Packets are under way when the plane is frozen, and go on coming.
func TestAPlaneFreezesWhilePacketsFlow(t *testing.T) {
	for range 5 {
		a, b, _, _ := ends(t, "aes128gcm16", udp4, nil)
		seen := nonces{}
		flow := func(a *end) (stop func()) {
			end, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				a.reader.makeRoom()
				for i := range 8 {
					a.reader.sizes[i] = copy(a.reader.bufs[i][headroom:], udpPacket(false, 1, 2, 100))
				}
				for {
					select {
					case <-end:
						return
					default:
						a.reader.batch(8)
						time.Sleep(10 * time.Microsecond)
					}
				}
			}()
			return func() { close(end); <-ended }
		}
		stop := flow(a)
		eventually(t, func() bool { return a.plane.PlaneCounters().PacketsOut > 0 })
		f := a.freeze()
		sent := a.socks[udp4].take()
		seen.add(t, 8, sent)
		last := uint64(0)
		for _, d := range sent {
			for _, d := range split(d) {
				last = max(last, uint64(sequence(d.Data)))
			}
		}
		if f.SAs[0].Sequence != last {
			t.Fatalf("frozen at %d, %d was sent", f.SAs[0].Sequence, last)
		}
		thaw := thawed(t, 0, f)
		stopThawed := flow(thaw)
		eventually(t, func() bool {
			return thaw.plane.PlaneCounters().PacketsOut > f.Counters.PacketsOut && a.plane.PlaneCounters().Drops["frozen"] > 0
		})
		stop()
		stopThawed()
		if ds := a.socks[udp4].take(); len(ds) != 0 {
			t.Fatalf("the original sent %d datagrams after the freeze", len(ds))
		}
		ds := thaw.socks[udp4].take()
		seen.add(t, 8, ds)
		if got := b.in(udp4, from(endAddrs[0][udp4], append(sent, ds...))...); len(got) != len(seen) {
			t.Errorf("the peer took %d of %d packets", len(got), len(seen))
		}
	}
}

func TestThawedSequenceNumbersNeverWrap(t *testing.T) {
	for proposal, last := range map[string]uint64{"aes128gcm16": math.MaxUint32, "aes128gcm16-esn": math.MaxUint64} {
		for left, packets := range map[uint64]int{0: 0, 5: 0, thawSkip: 0, thawSkip + 1: 1} {
			a, _, sa, _ := ends(t, proposal, udp4, nil)
			f := a.freeze()
			f.SAs[0].Sequence = last - left
			a = thawed(t, 0, f)
			p := udpPacket(false, 1, 2, 100)
			n := 0
			for _, d := range a.out(p, p) {
				n += len(split(d))
			}
			if n != packets {
				t.Errorf("%s, %d numbers left: %d packets were sent, want %d", proposal, left, n, packets)
			}
			wantDrops(t, a, sa.SPIIn, map[string]uint64{"sequence": uint64(2 - packets)})
		}
	}
}

func TestThawRefuses(t *testing.T) {
	state := func() Frozen {
		a, b, _, _ := ends(t, "aes128-sha256", udp4, nil)
		couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
		return a.freeze()
	}
	for name, f := range map[string]func(*Frozen){
		"unknown tunnel":   func(f *Frozen) { f.SAs[1].SA.Tunnel = "x" },
		"one SPI twice":    func(f *Frozen) { f.SAs[1].SA.SPIIn = f.SAs[0].SA.SPIIn },
		"one slot twice":   func(f *Frozen) { f.Reserved = []uint32{f.SAs[0].SA.SPIIn ^ 1<<31} },
		"reserved SPI":     func(f *Frozen) { f.SAs[1].SA.SPIIn = 255 },
		"redacted keys":    func(f *Frozen) { f.SAs[1].SA.In = ipsec.Keys{} },
		"no outbound key":  func(f *Frozen) { f.SAs[1].SA.Out = ipsec.Keys{} },
		"no key for IVs":   func(f *Frozen) { f.SAs[0].IVKey, f.SAs[1].IVKey = nil, nil },
		"broken selectors": func(f *Frozen) { f.SAs[0].SA.Local = nil },
	} {
		s := state()
		f(&s)
		e := newEnd(t, 0)
		if err := e.plane.Thaw(s); err == nil || !strings.HasPrefix(err.Error(), "esp: ") {
			t.Errorf("%s: %v", name, err)
		}
		if err := e.plane.Thaw(state()); err != nil {
			t.Errorf("%s: after it: %v", name, err)
		}
		if e.plane.Thaw(state()) == nil {
			t.Errorf("%s: into a plane that has SAs", name)
		}
	}
}

// The state has no pointer, function or hidden field, and shares no memory with the plane.
func TestFrozenIsPlainData(t *testing.T) {
	plain(t, reflect.TypeFor[Frozen](), "Frozen")
	a, b, sa, _ := ends(t, "aes128-sha256", udp4, nil)
	couple(t, a, b, suite{Suite: named(t, "aes128gcm16")}, udp4, nil)
	f := a.freeze()
	a2 := thawed(t, 0, f)
	for i := range f.SAs {
		f.SAs[i].SA.In.Clear()
		f.SAs[i].SA.Out.Clear()
		f.SAs[i].IVKey.Clear()
		clear(f.SAs[i].SA.Local)
		clear(f.SAs[i].SA.Remote)
	}
	sa.In.Clear()
	again := a2.freeze()
	for i := range again.SAs {
		s := &again.SAs[i]
		if s.SA.In.Encr.Equal(f.SAs[i].SA.In.Encr) || s.SA.Out.Encr.Equal(f.SAs[i].SA.Out.Encr) || !s.SA.Local[0].Valid() || !s.SA.Remote[0].Valid() {
			t.Errorf("SA %d has changed with the state that it came from", i)
		}
		if s.SA.SPIIn == sa.SPIIn && s.SA.In.Encr.Equal(sa.In.Encr) {
			t.Error("the key has changed with the SA that was installed")
		}
	}
}

// plain fails for a type that refers to anything but data.
func plain(t *testing.T, typ reflect.Type, path string) {
	switch typ {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Addr]():
		return
	}
	switch typ.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr:
		t.Errorf("%s is a %v", path, typ.Kind())
	case reflect.Struct:
		for i := range typ.NumField() {
			if !typ.Field(i).IsExported() {
				t.Errorf("%s.%s is hidden", path, typ.Field(i).Name)
			}
			plain(t, typ.Field(i).Type, path+"."+typ.Field(i).Name)
		}
	case reflect.Map:
		plain(t, typ.Key(), path+"[key]")
		plain(t, typ.Elem(), path+"[]")
	case reflect.Slice, reflect.Array:
		plain(t, typ.Elem(), path+"[]")
	}
}

func TestFrozenKeysDoNotPrint(t *testing.T) {
	a, b, sa, _ := ends(t, "aes128-sha256", udp4, nil)
	couple(t, a, b, suite{Suite: named(t, "chacha20poly1305")}, udp4, nil)
	f := a.freeze()
	var texts []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b"} {
		texts = append(texts, fmt.Sprintf(verb, f), fmt.Sprintf(verb, &f), fmt.Sprintf(verb, f.SAs[0]))
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	texts = append(texts, string(text), fmt.Sprint(f.SAs[0].IVKey))
	secrets := []ipsec.Secret{sa.In.Encr, sa.In.Integ, sa.Out.Encr, sa.Out.Integ}
	for _, s := range f.SAs {
		secrets = append(secrets, s.SA.In.Encr, s.SA.Out.Encr, s.IVKey)
	}
	secrets = slices.DeleteFunc(secrets, func(s ipsec.Secret) bool { return len(s) == 0 })
	if len(secrets) != 4+2*2+1 {
		t.Fatalf("%d secrets", len(secrets))
	}
	for _, key := range secrets {
		part := key[:8]
		decimal := strings.Trim(fmt.Sprint([]byte(part)), "[]")
		for _, text := range texts {
			for _, s := range []string{string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)), decimal, strings.ReplaceAll(decimal, " ", ",")} {
				if strings.Contains(text, s) {
					t.Fatalf("a key stands in %.200s", text)
				}
			}
		}
	}
}
