package dpd

import (
	"encoding/binary"
	"time"
)

// BFD says how a session of RFC 5880 asks. The zero value is none.
type BFD struct {
	Interval   time.Duration // between packets, each way; slowBFD at least until the session is up
	Multiplier int           // missed packets after which the session is down; 1 to 255
}

// DefaultBFD is a session for which nothing is said.
var DefaultBFD = BFD{Interval: time.Second, Multiplier: 3}

// LeastBFD bounds how often a session sends, whatever its BFD says.
const LeastBFD = 50 * time.Millisecond

// slowBFD is the least interval of a session that is not up (RFC 5880 section 6.8.3).
const slowBFD = time.Second

// BFDState is bfd.SessionState.
type BFDState uint8

const (
	BFDAdminDown BFDState = iota // the peer's wish; ours while the session rests
	BFDDown
	BFDInit
	BFDUp
)

func (s BFDState) String() string { return [...]string{"rests", "down", "init", "up"}[s&3] }

// BFDDiag is why a session is not up.
type BFDDiag uint8

const (
	BFDNoReason BFDDiag = 0
	BFDExpired  BFDDiag = 1 // nothing came for the detection time
	BFDTold     BFDDiag = 3 // the peer says that it is down
)

// Flags of a packet (RFC 5880 section 4.1).
const (
	bfdMultipoint    = 1
	bfdDemand        = 2
	bfdAuthenticated = 4
	bfdFinal         = 16
	bfdPoll          = 32
)

// bfdLen is the length of a packet without authentication, which this end never uses.
const bfdLen = 24

// BFDSession is one session of RFC 5880 in asynchronous mode: this end sends always (the active role), neither echoes nor
// wants demand mode. The zero value rests until Start.
type BFDSession struct {
	config BFD
	random func() float64 // in [0, 1)

	state       BFDState
	remoteState BFDState
	diag        BFDDiag
	since       time.Time
	health      Health

	local, remote uint32        // discriminators
	desired       time.Duration // that the packets say
	detect        time.Duration // from the peer's last packet
	remoteMinRx   time.Duration
	remoteDemand  bool

	every   time.Duration // that next goes by
	poll    bool
	final   bool      // an answer to a poll is due
	changed bool      // the next packet says something new
	sent    time.Time // the last packet
	next    time.Time // when the next packet is due; zero: none is
	expires time.Time // when the peer counts as gone; zero: it does already
}

// Start begins the session, if it rests, with a discriminator that no other session of this host has. random is in [0, 1).
func (s *BFDSession) Start(now time.Time, c BFD, discriminator uint32, random func() float64) {
	if s.state != BFDAdminDown {
		return
	}
	*s = BFDSession{
		config: BFD{Interval: max(c.Interval, LeastBFD), Multiplier: min(max(c.Multiplier, 1), 255)},
		random: random, state: BFDDown, remoteState: BFDDown, since: now, local: discriminator, remoteMinRx: time.Microsecond, next: now,
	}
	s.desired = s.wanted()
}

// Stop ends the session. The peer needs a packet that says so, if it ever answered.
func (s *BFDSession) Stop(now time.Time) (last []byte) {
	if s.state == BFDAdminDown {
		return nil
	}
	told := s.remote != 0
	s.state, s.poll, s.final = BFDAdminDown, false, false
	s.since, s.next, s.expires = now, time.Time{}, time.Time{}
	if !told {
		return nil
	}
	return s.packet(false)
}

// State is the session's state, since when, and why it is not up.
func (s *BFDSession) State() (BFDState, time.Time, BFDDiag) { return s.state, s.since, s.diag }

// Health is what the session says about the path: nothing until it has been up once, since the peer may have no BFD, and
// nothing when the peer ends it on purpose (RFC 5882 section 3.2).
func (s *BFDSession) Health() Health { return s.health }

// Every is the longest time between two packets of this end, as negotiated.
func (s *BFDSession) Every() time.Duration { return max(s.desired, s.remoteMinRx) }

// Silence is the time without a packet after which the peer counts, or counted, as gone; zero if it was never heard.
func (s *BFDSession) Silence() time.Duration { return s.detect }

// Handle takes what came from the peer's address, with a TTL of 255 (RFC 5881 section 5). False says that it was discarded.
func (s *BFDSession) Handle(now time.Time, b []byte) bool {
	if s.state == BFDAdminDown || len(b) < bfdLen || b[0]>>5 != 1 || int(b[3]) < bfdLen || int(b[3]) > len(b) || b[2] == 0 {
		return false
	}
	told, flags := BFDState(b[1]>>6), b[1]
	mine, yours := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	if flags&(bfdMultipoint|bfdAuthenticated) != 0 || mine == 0 || (yours != 0 && yours != s.local) || (yours == 0 && told > BFDDown) {
		return false
	}
	s.remote, s.remoteState, s.remoteDemand = mine, told, flags&bfdDemand != 0
	s.remoteMinRx = micros(b[16:])
	if flags&bfdFinal != 0 {
		s.poll = false
	}
	s.detect = time.Duration(b[2]) * max(s.config.Interval, micros(b[12:]))
	s.expires = now.Add(s.detect)
	switch {
	case told == BFDAdminDown:
		if s.state != BFDDown {
			s.become(now, BFDDown, BFDTold)
		}
	case s.state == BFDDown && told == BFDDown:
		s.become(now, BFDInit, s.diag)
	case s.state == BFDDown && told == BFDInit, s.state == BFDInit && told >= BFDInit:
		s.become(now, BFDUp, BFDNoReason)
	case s.state == BFDUp && told == BFDDown:
		s.become(now, BFDDown, BFDTold)
	}
	s.final = s.final || flags&bfdPoll != 0
	s.schedule(now)
	return true
}

// Due notes what is over at now, and returns the packet that is to be sent now; nil: none.
func (s *BFDSession) Due(now time.Time) []byte {
	if !s.expires.IsZero() && !now.Before(s.expires) {
		s.expires, s.remote = time.Time{}, 0
		s.remoteMinRx, s.remoteDemand, s.remoteState = time.Microsecond, false, BFDDown
		if s.state == BFDUp || s.state == BFDInit {
			s.become(now, BFDDown, BFDExpired)
		}
		s.schedule(now)
	}
	if s.final {
		s.final = false
		return s.packet(true)
	}
	if s.next.IsZero() || now.Before(s.next) {
		return nil
	}
	s.sent, s.changed, s.every = now, false, 0
	s.schedule(now)
	return s.packet(false)
}

// Deadline is when to call Due next; zero: never.
func (s *BFDSession) Deadline() time.Time {
	switch {
	case s.final:
		return s.sent // at once
	case s.next.IsZero() || (!s.expires.IsZero() && s.expires.Before(s.next)):
		return s.expires
	}
	return s.next
}

func (s *BFDSession) become(now time.Time, to BFDState, why BFDDiag) {
	switch {
	case to == BFDUp:
		s.health = Healthy
	case s.state == BFDUp && s.remoteState != BFDAdminDown:
		s.health = Ill
	case s.state == BFDUp:
		s.health = Unknown
	}
	s.state, s.diag, s.since, s.changed = to, why, now, true
	if w := s.wanted(); w != s.desired {
		s.desired, s.poll = w, true
	}
}

// wanted is bfd.DesiredMinTxInterval.
func (s *BFDSession) wanted() time.Duration {
	if s.state != BFDUp {
		return max(s.config.Interval, slowBFD)
	}
	return s.config.Interval
}

// schedule sets when the next packet is due, after the last one or after news from the peer. A change is told at once.
func (s *BFDSession) schedule(now time.Time) {
	switch {
	case s.state == BFDAdminDown:
		s.next = time.Time{}
	case s.changed:
		s.next = now
	case s.remoteMinRx == 0, s.remoteDemand && s.state == BFDUp && s.remoteState == BFDUp && !s.poll:
		s.next = time.Time{}
	default:
		every := s.Every()
		if every == s.every && !s.next.IsZero() {
			return
		}
		s.every = every
		less := s.random() / 4
		if s.config.Multiplier == 1 {
			less = 0.1 + s.random()*0.15
		}
		if s.next = s.sent.Add(every - time.Duration(less*float64(every))); s.next.Before(now) {
			s.next = now
		}
	}
}

func (s *BFDSession) packet(final bool) []byte {
	b := make([]byte, bfdLen)
	b[0] = 1<<5 | byte(s.diag)
	b[1] = byte(s.state) << 6
	switch {
	case final:
		b[1] |= bfdFinal
	case s.poll:
		b[1] |= bfdPoll
	}
	b[2], b[3] = byte(s.config.Multiplier), bfdLen
	binary.BigEndian.PutUint32(b[4:], s.local)
	binary.BigEndian.PutUint32(b[8:], s.remote)
	binary.BigEndian.PutUint32(b[12:], uint32(s.desired/time.Microsecond))
	binary.BigEndian.PutUint32(b[16:], uint32(s.config.Interval/time.Microsecond))
	return b // no echoes
}

func micros(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}
