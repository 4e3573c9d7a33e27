package ikev1

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// exchange is the messages of one message id, as data: which step comes next, whom it is
// for, and what is to be done when it ends. The ends take turns, so each message answers
// the one before. A message that comes again is known by its hash, and gets the same answer again.
type exchange struct {
	kind wire.Exchange
	id   uint32
	iv   []byte // of the next encrypted message, whoever sends it; nil: nothing is encrypted yet
	step step   // the message that it takes next

	asks    *quick  // the Child SA that this end asks for, in an open quick mode of ours
	answers *answer // the Child SA that the peer asks for, in an open quick mode of the peer's

	lastHash [32]byte // hash of the last message that was taken
	sent     [][]byte // the answer to it, which is sent again when it comes again
	retx     sa.Retransmitter
	repeats  int
	until    time.Time // when it ends
	then     ending
}

// ending names the action that follows when nobody has answered an exchange, or when its time is over.
type ending uint8

const (
	nothing       ending = iota // its ISAKMP SA has a time of its own
	failsPhase1                 // an initiator's phase 1 takes its ISAKMP SA along
	forgetsPhase1               // phase 1 is done, and its last message is repeated no longer
	failsQuick                  // our quick mode
	forgetsQuick                // a quick mode of the peer's, or one that is done
	endings                     // how many there are
)

func (e ending) String() string {
	return [...]string{"nothing", "fails phase 1", "forgets phase 1", "fails quick mode", "forgets quick mode"}[e]
}

// message is a message that came, decrypted.
type message struct {
	wire.Header
	*wire.Chain1
	d ipsec.Datagram
}

func (m *message) hash() [32]byte { return sha256.Sum256(m.d.Data) }

func (x *exchange) deadline() time.Time { return sa.Earliest(x.retx.Deadline(), x.until) }

// advance repeats what was not answered, and ends what is over.
func (x *exchange) advance(s *SA, now time.Time) {
	msgs, gaveUp := x.retx.Due(now)
	if len(msgs) > 0 {
		x.repeats++
		if s.p1 != nil && s.p1.x == x {
			s.p1.knock(now)
		}
		if s.unacked != nil {
			s.send(s.path, s.fragments(s.unacked))
		}
		x.send(s, now, s.path, msgs)
		if s.p1 != nil && s.p1.x == x {
			s.p1.patience(now)
		}
	}
	if gaveUp || sa.Due(now, x.until) {
		x.end(s, now)
	}
}

func (x *exchange) end(s *SA, now time.Time) {
	if x.then == nothing {
		return
	}
	x.until = time.Time{}
	switch x.then {
	case failsPhase1:
		s.Drop(now, s.p1.whyUnanswered())
	case forgetsPhase1:
		s.p1 = nil
	case failsQuick:
		x.asks.unanswered(now)
	case forgetsQuick:
		s.forget(x)
	}
}

// send puts messages of an exchange on their way. Message 2 of a quick mode first holds
// the packets back that it could make the peer lose.
func (x *exchange) send(s *SA, now time.Time, p ipsec.Path, msgs [][]byte) {
	if x.answers != nil {
		s.hold(now, x.answers.c)
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
	if s.elsewhere(d) {
		s.env.Owner.Dropped(sa.DropElsewhere)
		return
	}
	if h.Next == wire.TypeFragment1 {
		if d.Data = s.reassembler.add(now, h, d.Data); d.Data == nil {
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
	default: // mode config and the like, for which a site-to-site peer has no use
		s.env.Owner.Dropped(sa.DropMalformed)
	}
	if s.state != sa.Dead {
		s.fam.startNext(now)
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
	var x *exchange
	switch {
	case i >= 0:
		x = s.exchanges[i]
	case s.used(h.ID):
		s.env.Owner.Dropped(sa.DropRepeated)
		return
	default:
		x = s.answering(h.ID)
	}
	err := s.deliver(now, x, h, d)
	if r := (*refusal)(nil); errors.As(err, &r) { // of message 1
		x.answers.refuse(now, r)
	}
}

// deliver gives a message to its exchange. It counts a message that is dropped.
func (s *SA) deliver(now time.Time, x *exchange, h wire.Header, d ipsec.Datagram) error {
	sum := sha256.Sum256(d.Data)
	if sum == x.lastHash {
		x.send(s, now, sa.ReplyPath(d), x.sent)
		return nil
	}
	if x.step.row().take == nil {
		return s.count(now, h, drop(sa.DropRepeated, "the exchange is over"))
	}
	m, iv, err := s.open(x, h, d)
	if err != nil {
		return s.count(now, h, err)
	}
	before, sent := x.iv, x.sent
	began := x.retx.Began() // zero: nothing of ours waits for this message
	if x.repeats > 0 {      // or it answers any of several
		began = time.Time{}
	}
	x.iv, x.sent = iv, nil // a message that the step does not answer is not answered when it comes again
	err = s.take(now, x, m)
	if e := (*dropped)(nil); errors.As(err, &e) {
		x.iv, x.sent = before, sent
		return s.count(now, h, err)
	}
	x.lastHash = sum
	if !began.IsZero() {
		s.timed(now.Sub(began))
	}
	if m.Flags&wire.FlagEncrypted != 0 {
		s.heard(now, d)
	}
	return err
}

// count counts a message if err says that it is dropped, and returns err.
func (s *SA) count(now time.Time, h wire.Header, err error) error {
	e := (*dropped)(nil)
	if !errors.As(err, &e) {
		return err
	}
	if s.env.Owner.Dropped(e.why); !s.env.Log.Enabled(context.Background(), slog.LevelDebug) {
		return err
	}
	log, _ := s.env.Owner.Hearsay(now, s.path.Remote.Addr(), diag.Code(e.why.String()))
	log.Debug("message dropped", "peer", s.path.Remote, "exchange", h.Exchange.String(), "mid", sa.Hex32(h.ID), "why", e.text)
	return err
}

// open decrypts a message, which may be in the clear only before there are keys. It
// returns the IV of the next message.
func (s *SA) open(x *exchange, h wire.Header, d ipsec.Datagram) (*message, []byte, error) {
	if h.Flags&wire.FlagEncrypted == 0 {
		if x.iv != nil && !x.step.clear() {
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
	c, err := wire.ParseChain1(h.Next, plain, n)
	if err != nil {
		return nil, nil, drop(sa.DropUndecryptable, "%v", err)
	}
	return &message{h, c, d}, bytes.Clone(body[len(body)-n:]), nil
}

// header is the header of a message from this end.
func (s *SA) header(kind wire.Exchange, id uint32) wire.Header {
	return wire.Header{SPIi: s.spiI, SPIr: s.spiR, Major: 1, Exchange: kind, ID: id}
}

// seal makes a message of an exchange, encrypted once the exchange has an IV: "Each message
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

// say sends the next message of an exchange. With repeat it goes out again until it is
// answered; without, when the message that it answers comes again.
func (s *SA) say(now time.Time, x *exchange, repeat bool, ps ...wire.Payload) {
	x.sent = s.fragments(s.seal(x, ps))
	x.repeats = 0
	if x.retx.Stop(); repeat {
		x.retx.Start(now, x.sent...)
	}
	x.send(s, now, s.path, x.sent)
	s.env.Owner.Stirred(s)
}

// hashed puts a HASH payload in front of ps. hash computes it from their bytes.
func hashed(ps []wire.Payload, hash func(rest []byte) []byte) []wire.Payload {
	return append([]wire.Payload{&wire.Raw{Kind: wire.TypeHash1, Data: hash(wire.AppendChain(nil, ps))}}, ps...)
}

// track keeps a quick mode. When there are many, the oldest makes room that is over, or waits for room itself.
func (s *SA) track(x *exchange) {
	const most = 256
	if len(s.exchanges) >= most {
		if i := slices.IndexFunc(s.exchanges, func(x *exchange) bool { return x.step == none || x.step == qm1 }); i >= 0 {
			s.exchanges = slices.Delete(s.exchanges, i, i+1)
		}
	}
	s.exchanges = append(s.exchanges, x)
}

func (s *SA) forget(x *exchange) {
	s.exchanges = slices.DeleteFunc(s.exchanges, func(y *exchange) bool { return x == y })
}

// finish keeps a quick mode that is over only for its last message: the peer repeats the
// message before it when that one was lost.
func (s *SA) finish(now time.Time, x *exchange) {
	const remember = time.Minute
	x.step, x.asks, x.answers = none, nil, nil
	x.retx.Stop()
	x.until, x.then = now.Add(remember), forgetsQuick
}
