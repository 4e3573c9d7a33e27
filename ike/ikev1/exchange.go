package ikev1

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// exchange carries the messages of one message id. The ends take turns, so
// each message answers the one before, and one that comes again gets the same answer again:
// "a repeated message" is told by its hash, at no other cost.
type exchange struct {
	kind wire.Exchange
	id   uint32
	iv   []byte // of the next encrypted message, whoever sends it; nil: nothing is encrypted yet
	// take is the next step; nil: there is none. What it refuses with a *dropped was
	// not authentic, and must have changed nothing.
	take  func(now time.Time, m *message) error
	wants shape // what take needs
	clear bool  // take also takes a message in the clear, though there are keys
	// before does what must be done before sent goes out, each time; nil: nothing.
	before func(now time.Time)

	heard   [32]byte // hash of the last message that was taken
	sent    [][]byte // what answered it, and is sent again when it comes again
	retx    sa.Retransmitter
	repeats int
	until   time.Time // when it is forgotten
	over    func(now time.Time)
}

// message is one that came, decrypted.
type message struct {
	wire.Header
	*wire.Chain1
	d ipsec.Datagram
}

// dropped is an error that nobody hears of: a message that may be anybody's.
type dropped struct {
	why   sa.Drop
	text  string
	cause diag.Cause // OK: there is nothing to tell the operator
}

func (e *dropped) Error() string { return e.text }

func drop(why sa.Drop, format string, args ...any) error {
	return &dropped{why: why, text: fmt.Sprintf(format, args...)}
}

// doubt drops a message that says something about the peer, if it is the peer's.
func doubt(why sa.Drop, cause diag.Cause) error { return &dropped{why, cause.String(), cause} }

// wrongHash is for a HASH payload of phase 1 that does not prove the pre-shared key.
func wrongHash(hash, message string) error {
	return doubt(sa.DropBadHash, diag.Cause{Code: diag.HashWrong, Theirs: hash, Message: message})
}

// refusal is an error in an authentic message. The peer is told its kind.
type refusal struct {
	kind  wire.NotifyType1
	cause diag.Cause
}

func (e *refusal) Error() string { return e.kind.String() + ": " + e.cause.String() }

func refuse(kind wire.NotifyType1, cause diag.Cause) error { return &refusal{kind, cause} }

func (x *exchange) deadline() time.Time { return sa.Earliest(x.retx.Deadline(), x.until) }

// advance repeats what was not answered.
func (x *exchange) advance(s *SA, now time.Time) {
	msgs, gaveUp := x.retx.Due(now)
	if len(msgs) > 0 {
		x.repeats++
		if s.unconfirmed != nil {
			s.send(s.path, s.fragments(s.unconfirmed))
		}
		x.send(s, now, s.path, msgs)
		if s.p1 != nil && s.p1.x == x {
			s.p1.patience(now)
		}
	}
	if (gaveUp || sa.Due(now, x.until)) && x.over != nil {
		x.until = time.Time{}
		x.over(now)
	}
}

func (x *exchange) send(s *SA, now time.Time, p ipsec.Path, msgs [][]byte) {
	if x.before != nil {
		x.before(now)
	}
	s.send(p, msgs)
}

func (s *SA) send(p ipsec.Path, msgs [][]byte) {
	for _, m := range msgs {
		s.env.Owner.Emit(sa.Send{Path: p, Data: m})
	}
}

// Handle implements sa.Machine.
func (s *SA) Handle(now time.Time, d ipsec.Datagram) {
	h, err := wire.ParseHeader(d.Data)
	if err != nil || h.Major != 1 || s.state == sa.Dead {
		return
	}
	if s.state == sa.Outlived {
		s.env.Owner.Dropped(sa.DropTooEarly)
		return
	}
	if h.Next == wire.TypeFragment1 {
		if d.Data = s.gatherer.gather(now, h, d.Data); d.Data == nil {
			return
		}
		whole, err := wire.ParseHeader(d.Data)
		if err != nil || whole.Major != 1 || whole.Next == wire.TypeFragment1 || whole.SPIi != h.SPIi || whole.SPIr != h.SPIr {
			s.env.Owner.Dropped(sa.DropMalformed)
			return
		}
		h = whole
	}
	if s.spiI != h.SPIi || s.spiR != 0 && s.spiR != h.SPIr && h.SPIr != 0 {
		return
	}
	switch h.Exchange {
	case wire.ExchangeMain, wire.ExchangeAggressive:
		s.handlePhase1(now, h, d)
	case wire.ExchangeQuick:
		s.handleQuick(now, h, d)
	case wire.ExchangeInfo1:
		s.handleInformational(now, h, d)
	default: // mode config and the like: nothing that a site-to-site peer needs
		s.env.Owner.Dropped(sa.DropMalformed)
	}
	if s.state != sa.Dead {
		s.fam.pump(now)
	}
}

func (s *SA) handlePhase1(now time.Time, h wire.Header, d ipsec.Datagram) {
	if s.p1 == nil || h.ID != 0 || h.Exchange != s.p1.x.kind {
		s.env.Owner.Dropped(sa.DropRepeated)
		return
	}
	p1 := s.p1
	if err := s.deliver(now, p1.x, h, d); err != nil {
		p1.failed(now, err)
	}
}

// handleQuick finds or begins the quick mode of a message.
func (s *SA) handleQuick(now time.Time, h wire.Header, d ipsec.Datagram) {
	if !s.live() {
		s.env.Owner.Dropped(sa.DropTooEarly)
		return
	}
	i := slices.IndexFunc(s.exchanges, func(x *exchange) bool { return x.id == h.ID })
	if i < 0 {
		s.answerQuick(now, h, d)
		return
	}
	x := s.exchanges[i]
	if err := s.deliver(now, x, h, d); err != nil {
		s.failed(now, x, err)
	}
}

// failed is for a quick mode's message that went wrong.
func (s *SA) failed(now time.Time, x *exchange, err error) {
	if r := (*refusal)(nil); errors.As(err, &r) {
		if x.take = nil; x.over != nil {
			x.over(now)
		}
	}
}

// deliver gives a message to its exchange. A *dropped has been counted.
func (s *SA) deliver(now time.Time, x *exchange, h wire.Header, d ipsec.Datagram) error {
	sum := sha256.Sum256(d.Data)
	if sum == x.heard {
		x.send(s, now, sa.ReplyPath(d), x.sent)
		return nil
	}
	count := func(err error) error {
		if e := (*dropped)(nil); errors.As(err, &e) {
			s.env.Owner.Dropped(e.why)
			s.log.Debug("message dropped", "exchange", h.Exchange.String(), "mid", sa.Hex32(h.ID), "why", e.text)
		}
		return err
	}
	if x.take == nil {
		return count(drop(sa.DropRepeated, "the exchange is over"))
	}
	m, iv, err := s.open(x, h, d)
	if err != nil {
		return count(err)
	}
	if err := x.wants.check(h.Exchange, m.Payloads); err != nil {
		return count(err)
	}
	before, sent := x.iv, x.sent
	x.iv, x.sent = iv, nil // what take does not answer is not answered when it comes again
	err = x.take(now, m)
	if e := (*dropped)(nil); errors.As(err, &e) {
		x.iv, x.sent = before, sent
		return count(err)
	}
	x.heard = sum
	if m.Flags&wire.FlagEncrypted != 0 {
		s.heard(now, d)
	}
	return err
}

// open decrypts a message if it is encrypted, and must be. It returns the IV of the next one.
func (s *SA) open(x *exchange, h wire.Header, d ipsec.Datagram) (*message, []byte, error) {
	if h.Flags&wire.FlagEncrypted == 0 {
		if x.iv != nil && !x.clear {
			return nil, nil, drop(sa.DropCleartext, "it is not encrypted")
		}
		_, c, err := wire.Parse1(d.Data)
		if err != nil {
			return nil, nil, drop(sa.DropMalformed, "%v", err)
		}
		return &message{h, c, d}, x.iv, nil
	}
	body := d.Data[wire.HeaderSize:]
	if s.keys == nil || x.iv == nil {
		return nil, nil, drop(sa.DropUndecryptable, "there are no keys yet")
	}
	n := s.keys.block.BlockSize()
	if len(body) == 0 || len(body)%n != 0 {
		return nil, nil, drop(sa.DropUndecryptable, "%d bytes are not whole blocks", len(body))
	}
	plain := make([]byte, len(body))
	cipher.NewCBCDecrypter(s.keys.block, x.iv).CryptBlocks(plain, body)
	c, err := wire.ParseChain1(h.Next, plain)
	if err != nil {
		return nil, nil, drop(sa.DropUndecryptable, "%v", err)
	}
	return &message{h, c, d}, bytes.Clone(body[len(body)-n:]), nil
}

// header is a message's, from this end.
func (s *SA) header(kind wire.Exchange, id uint32) wire.Header {
	return wire.Header{SPIi: s.spiI, SPIr: s.spiR, Major: 1, Exchange: kind, ID: id}
}

// seal makes a message of an exchange, encrypted once that has an IV: "Each message
// should be padded up to the nearest block size using bytes containing 0x00" (RFC
// 2409 appendix B).
func (s *SA) seal(x *exchange, ps []wire.Payload) []byte {
	m := wire.Message{Header: s.header(x.kind, x.id), Payloads: ps}
	if x.iv == nil {
		return m.Marshal()
	}
	m.Flags = wire.FlagEncrypted
	b := m.Marshal()
	n := s.keys.block.BlockSize()
	for (len(b)-wire.HeaderSize)%n != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint32(b[wire.HeaderSize-4:], uint32(len(b)))
	body := b[wire.HeaderSize:]
	cipher.NewCBCEncrypter(s.keys.block, x.iv).CryptBlocks(body, body)
	x.iv = bytes.Clone(body[len(body)-n:])
	return b
}

// say sends the next message of an exchange. With repeat it goes out again until
// it is answered; without, when what it answers comes again.
func (s *SA) say(now time.Time, x *exchange, repeat bool, ps ...wire.Payload) {
	x.sent = s.fragments(s.seal(x, ps))
	x.repeats = 0
	if x.retx.Stop(); repeat {
		x.retx.Start(now, x.sent...)
	}
	x.send(s, now, s.path, x.sent)
	s.env.Owner.Stirred(s)
}

// hashed is payloads behind a HASH that hash makes of their bytes.
func hashed(ps []wire.Payload, hash func(rest []byte) []byte) []wire.Payload {
	return append([]wire.Payload{&wire.Raw{Kind: wire.TypeHash1, Data: hash(wire.AppendChain(nil, ps))}}, ps...)
}

// track keeps a quick mode: of those that are over the oldest make room.
func (s *SA) track(x *exchange) {
	const most = 256
	if len(s.exchanges) >= most {
		if i := slices.IndexFunc(s.exchanges, func(x *exchange) bool { return x.take == nil }); i >= 0 {
			s.exchanges = slices.Delete(s.exchanges, i, i+1)
		}
	}
	s.exchanges = append(s.exchanges, x)
}

func (s *SA) forget(x *exchange) {
	s.exchanges = slices.DeleteFunc(s.exchanges, func(y *exchange) bool { return x == y })
}

// finish keeps an exchange that is over only for its last message, which the peer may ask for again.
func (s *SA) finish(now time.Time, x *exchange) {
	const remember = time.Minute
	x.take, x.before = nil, nil
	x.retx.Stop()
	x.until, x.over = now.Add(remember), func(time.Time) { s.forget(x) }
}

// messageIDs, whose zero value is ready, are those that the peer has used on an ISAKMP SA: none may come
// twice, or a message that was listened in on could be sent once more. Those of
// informational exchanges, of which there are many, are forgotten in the end.
type messageIDs struct {
	quick  map[uint32]struct{}
	recent map[uint32]struct{}
	ring   []uint32
	next   int
}

const (
	maxQuickModes   = 1 << 14 // on one ISAKMP SA; then it must be replaced
	maxRecentInform = 1 << 10
)

func (u *messageIDs) seen(id uint32) bool {
	_, q := u.quick[id]
	_, r := u.recent[id]
	return q || r || id == 0
}

// note is false when no more can be kept.
func (u *messageIDs) note(kind wire.Exchange, id uint32) bool {
	if u.quick == nil {
		u.quick, u.recent = map[uint32]struct{}{}, map[uint32]struct{}{}
	}
	switch {
	case kind == wire.ExchangeQuick:
		u.quick[id] = struct{}{}
		return len(u.quick) <= maxQuickModes
	case len(u.ring) < maxRecentInform:
		u.ring = append(u.ring, id)
	default:
		delete(u.recent, u.ring[u.next])
		u.ring[u.next] = id
		u.next = (u.next + 1) % maxRecentInform
	}
	u.recent[id] = struct{}{}
	return true
}

// newID is a message id of ours: random, and not in use by either end.
func (s *SA) newID() (uint32, error) {
	for range 64 {
		var b [4]byte
		if _, err := io.ReadFull(s.env.Rand, b[:]); err != nil {
			return 0, err
		}
		id := binary.BigEndian.Uint32(b[:])
		if !s.used.seen(id) && !slices.ContainsFunc(s.exchanges, func(x *exchange) bool { return x.id == id }) {
			return id, nil
		}
	}
	return 0, errors.New("no unused message id: the source of randomness is broken")
}
