package ikev2

import (
	"crypto/sha256"
	"errors"
	"time"

	"vpngw/diag"
	"vpngw/ike/sa"
	"vpngw/ike/wire"
	"vpngw/ipsec"
)

// task is an exchange that this end starts. build is called first, and answered
// once, if the peer answers.
type task interface {
	// build makes the request; false: the task is not needed any more.
	build(s *SA, now time.Time) (request, bool)
	// answered handles the peer's response, decrypted and of the right shape. An error ends the IKE SA.
	answered(s *SA, now time.Time, ps []wire.Payload) error
	// abandoned frees what build allocated, because the SA ends or the task is not needed any more.
	abandoned(s *SA)
	// child is the configured child that the task brings up, or nil.
	child() *sa.Child
	// freeze lists the task; k numbers the Child SAs that it refers to.
	freeze(s *SA, k *numberedFamily) FrozenTask
}

// plain is the part of a task that brings up no child and allocates nothing.
type plain struct{}

func (plain) abandoned(*SA)    {}
func (plain) child() *sa.Child { return nil }

type request struct {
	exchange wire.Exchange
	payloads []wire.Payload
}

// channel carries requests and responses: message ids (RFC 7296 section 2.2,
// window size 1), retransmission (section 2.1), and fragmentation (RFC 7383).
type channel struct {
	queue   []task
	out     task // the open one: its request waits for a response
	outKind wire.Exchange
	outID   uint32
	nextID  uint32
	retx    sa.Retransmitter

	peerNextID  uint32   // the message id of the peer's next request
	response    [][]byte // our response to request peerNextID-1
	requestHash [32]byte // hash of that request, or of its first fragment
	hasResponse bool

	fragment            bool       // both ends support fragmentation
	requests, responses *fragments // nil: none came
}

func (s *SA) enqueue(t task) { s.queue = append(s.queue, t) }

// tasks returns the open task and the queue.
func (s *SA) tasks() []task {
	if s.out == nil {
		return s.queue
	}
	return append([]task{s.out}, s.queue...)
}

// pump starts the next task if none is open.
func (s *SA) pump(now time.Time) {
	if s.pumping || s.out != nil || (s.state != sa.Established && s.state != sa.Deleting && s.state != sa.Replaced) {
		return
	}
	s.pumping = true
	defer func() { s.pumping = false }()
	for s.out == nil && len(s.queue) > 0 && s.state != sa.Dead {
		t := s.queue[0]
		s.queue = s.queue[1:]
		r, ok := t.build(s, now)
		if !ok {
			t.abandoned(s)
			continue
		}
		msgs, err := s.seal(r.exchange, 0, s.nextID, r.payloads)
		if err != nil {
			t.abandoned(s)
			s.Drop(now, internal("encrypt a request", err))
			return
		}
		if m, ok := t.(*measure); ok {
			s.startMeasure(now, m, msgs)
		} else {
			s.start(now, t, r.exchange, msgs)
		}
	}
}

// start puts a task's request on the wire.
func (s *SA) start(now time.Time, t task, x wire.Exchange, msgs [][]byte) {
	s.out, s.outKind, s.outID = t, x, s.nextID
	s.retx.Start(now, msgs...)
	s.send(s.requestPath(), msgs)
	s.env.Owner.Stirred(s)
}

func (s *SA) send(p ipsec.Path, msgs [][]byte) {
	for _, m := range msgs {
		s.env.Owner.Emit(sa.Send{Path: p, Data: m})
	}
}

// linger ends an SA but keeps its last response, which may be lost, for a while.
func (s *SA) linger(now time.Time, why diag.Cause) {
	s.releaseChildren(now, why)
	s.abandon()
	s.setState(now, sa.Deleting, why)
	s.lingering = true
	s.rekeyAt, s.keepaliveAt = time.Time{}, time.Time{}
	s.expireAt, s.endWhy = now.Add(deleteTime), diag.Keep(why)
	s.ended(now, why)
}

// abandon drops every task.
func (s *SA) abandon() {
	for _, t := range s.tasks() {
		t.abandoned(s)
	}
	s.out, s.queue = nil, nil
	s.retx.Stop()
}

// exchanged tells how a request of an established SA has ended.
func (s *SA) exchanged(t task, refused *wire.Notify, answered bool, took time.Duration) {
	f := sa.Exchanged{Done: answered && refused == nil, Took: took}
	switch t.(type) {
	case *liveness:
		f.What, f.Done = sa.LivenessCheck, answered
	case *rekeyChild:
		f.What = sa.ChildRekey
	case *rekeyIKE:
		f.What = sa.IKERekey
	default:
		return
	}
	if f.What != sa.LivenessCheck && refused != nil && (refused.Kind == wire.TemporaryFailure || refused.Kind == wire.InvalidKEPayload) {
		return
	}
	s.env.Owner.Exchanged(s, f)
}

// unanswered ends an SA whose peer does not respond.
func (s *SA) unanswered(now time.Time) {
	s.exchanged(s.out, nil, false, 0)
	switch t := s.out.(type) {
	case *deleteIKE:
		s.die(now, s.endWhy.Cause())
	case *saInit:
		s.Drop(now, diag.First(t.refused, s.peer.Unanswered(s.path, "IKE_SA_INIT")))
	case *auth:
		s.Drop(now, diag.Cause{Code: diag.NoAnswerAuth, Peer: s.path.Remote})
	default:
		s.Drop(now, diag.Cause{Code: diag.PeerDead, Peer: s.path.Remote})
	}
}

// Handle implements sa.Machine.
func (s *SA) Handle(now time.Time, d ipsec.Datagram) {
	h, err := wire.ParseHeader(d.Data)
	if err != nil || h.Major != 2 || s.state == sa.Dead {
		return
	}
	if (h.Flags&wire.FlagInitiator != 0) == s.initiator {
		return // our own message, reflected
	}
	if h.Flags&wire.FlagResponse != 0 {
		s.handleResponse(now, h, d)
	} else {
		s.handleRequest(now, h, d)
	}
	s.pump(now)
}

func (s *SA) handleResponse(now time.Time, h wire.Header, d ipsec.Datagram) {
	if s.out == nil || h.ID != s.outID || h.Exchange != s.outKind {
		return
	}
	if t, ok := s.out.(*saInit); ok {
		t.response(s, now, h, d)
		return
	}
	ps, err := s.open(now, h, d.Data, &s.responses)
	if errors.Is(err, errNotYet) || errors.Is(err, errForged) {
		return
	}
	s.heard(now, d)
	t := s.out
	s.out = nil
	s.nextID++
	s.exchanged(t, errorNotify(ps), true, now.Sub(s.retx.Began()))
	s.retx.Stop()
	s.responses = nil
	if err == nil {
		err = checkShape(h.Exchange, true, ps)
	}
	s.answerTask(now, h.Exchange, t, ps, err)
}

// answerTask hands a response to its task; err says what is wrong with the response.
func (s *SA) answerTask(now time.Time, x wire.Exchange, t task, ps []wire.Payload, err error) {
	switch {
	case err != nil:
		t.abandoned(s)
	case x != wire.ExchangeAuth && wire.FindNotify(ps, wire.InvalidSyntax) != nil:
		t.abandoned(s)
		s.Drop(now, diag.Cause{Code: diag.RequestUnread, Message: x.String(), Notify: wire.InvalidSyntax.String()})
	default:
		err = t.answered(s, now, ps)
	}
	switch {
	case err == nil:
	case s.state == sa.Connecting: // IKE_AUTH; the peer has accepted us already
		var n *wire.Notify
		if e := asNotify(err); e != nil {
			n = &wire.Notify{Kind: e.Kind, Data: e.Data}
		}
		s.closing(now, causeOf(err), n)
	default:
		// "Such errors in parsing or processing response packets should still cause
		// the recipient to clean up the IKE state" (RFC 7296 section 2.21).
		s.Close(now, causeOf(err))
	}
}

func (s *SA) handleRequest(now time.Time, h wire.Header, d ipsec.Datagram) {
	if h.ID+1 == s.peerNextID {
		if s.hasResponse && sha256.Sum256(d.Data) == s.requestHash {
			s.send(sa.ReplyPath(d), s.response)
		}
		return
	}
	if s.authenticating() {
		return // it has overtaken the IKE_AUTH response; the peer will send it again
	}
	if h.ID != s.peerNextID || h.Exchange == wire.ExchangeSAInit || !s.haveKeys(now) {
		return
	}
	ps, err := s.open(now, h, d.Data, &s.requests)
	if errors.Is(err, errNotYet) || errors.Is(err, errForged) {
		return
	}
	s.heard(now, d)
	s.requestHash = s.requests.firstHash(d.Data)
	s.requests = nil
	s.peerNextID++

	var reply []wire.Payload
	var after func()
	var fatal diag.Cause
	if err == nil {
		err = checkShape(h.Exchange, false, ps)
	}
	if err == nil {
		reply, after, err = s.answerRequest(now, h.Exchange, ps, d)
	}
	if err != nil {
		if reply, fatal = s.refusal(h.Exchange, err); reply == nil {
			s.Drop(now, causeOf(err))
		}
	}
	if s.state != sa.Dead {
		s.respond(now, h, d, reply)
	}
	if s.state == sa.Dead {
		return
	}
	if after != nil {
		after()
	}
	if !fatal.OK() {
		s.linger(now, fatal)
	}
}

// refusal turns an error into the response that tells the peer; nil: the peer is
// not told. If the refusal ends the IKE SA, fatal says why.
func (s *SA) refusal(x wire.Exchange, err error) (reply []wire.Payload, fatal diag.Cause) {
	e := asNotify(err)
	if e == nil {
		return nil, fatal
	}
	n := &wire.Notify{Kind: e.Kind, Data: e.Data}
	if e.Kind == wire.ChildSANotFound {
		// "the SPI field in the Notify payload, which is copied from the SPI field in the
		// REKEY_SA notification" (section 2.25)
		n = &wire.Notify{Kind: e.Kind, Protocol: ipsec.ProtoESP, SPI: e.Data}
	}
	s.logger().Info("refusing the peer's request", "exchange", x.String(), "notify", e.Kind.String(), sa.Why(e.Cause))
	// INVALID_SYNTAX is "fatal in both peers" (RFC 7296 section 2.21.3), and so
	// is every refusal of IKE_AUTH as a whole.
	if e.Kind == wire.InvalidSyntax || x == wire.ExchangeAuth {
		fatal = causeOf(e)
	}
	return []wire.Payload{n}, fatal
}

// respond sends a response, and keeps it in case the peer repeats its request.
func (s *SA) respond(now time.Time, h wire.Header, d ipsec.Datagram, ps []wire.Payload) {
	msgs, err := s.seal(h.Exchange, wire.FlagResponse, h.ID, ps)
	if err != nil {
		s.Drop(now, internal("encrypt a response", err))
		return
	}
	s.response, s.hasResponse = msgs, true
	s.send(sa.ReplyPath(d), msgs)
}

// answerRequest calls the function that answers a request.
func (s *SA) answerRequest(now time.Time, x wire.Exchange, ps []wire.Payload, d ipsec.Datagram) ([]wire.Payload, func(), error) {
	if s.state == sa.Connecting {
		if x != wire.ExchangeAuth {
			return nil, nil, syntax("%v before IKE_AUTH", x)
		}
		return s.answerAuth(now, ps, d)
	}
	switch x {
	case wire.ExchangeCreateChild:
		if n := wire.FindNotify(ps, wire.RekeySA); n != nil {
			return s.answerRekeyChild(now, ps, n)
		}
		if p, ok := wire.Find[*wire.SA](ps); ok && len(p.Proposals) > 0 && p.Proposals[0].Protocol == ipsec.ProtoIKE {
			return s.answerRekeyIKE(now, ps, p)
		}
		return s.answerCreateChild(now, ps)
	case wire.ExchangeInformational:
		return s.answerInformational(now, ps)
	}
	return nil, nil, syntax("%v on an established IKE SA", x)
}

// heard notes an authenticated message that is no repetition.
func (s *SA) heard(now time.Time, d ipsec.Datagram) {
	s.monitor.Heard(now)
	if s.state != sa.Connecting {
		s.follow(now, d.Local, d.Remote)
	}
}

// causeOf turns an error of an exchange into a Cause.
func causeOf(err error) diag.Cause {
	if n := asNotify(err); n != nil && !n.Cause.OK() {
		return n.Cause
	}
	return internal("go on with an exchange", err)
}

// internal is the Cause of a failure of this end: it could not do something.
func internal(do string, err error) diag.Cause {
	return diag.Cause{Code: diag.Internal, Name: do, Err: err.Error()}
}

// asNotify finds the notification that tells the peer of an error; nil: the peer is
// not told.
func asNotify(err error) *wire.NotifyError {
	var n *wire.NotifyError
	var c *wire.UnsupportedCritical
	switch {
	case errors.As(err, &n):
		return n
	case errors.As(err, &c):
		return c.Notify()
	}
	return nil
}
