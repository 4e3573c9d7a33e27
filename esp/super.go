package esp

const (
	// maxRead holds the largest frame.
	maxRead = vnetHeader + maxFrame
	// A batch ends when this much was read, though there may be more: the first sealed
	// packets must not wait, and should still be in the cache when they are sent.
	batchBytes  = 128 << 10
	batchFrames = 256
)

func (r *reader) fd() int { return r.Frames.FD() }

// step reads and carries a batch of frames.
func (r *reader) step() error {
	r.read, r.bytes = 0, 0
	err := r.Frames.ReadReady(r.space, r.take)
	if r.out != nil {
		r.end()
	}
	return err
}

// frame carries one frame and reports whether the batch goes on.
func (r *reader) frame(b []byte) bool {
	if r.out == nil {
		r.begin()
	}
	r.read++
	r.bytes += len(b)
	r.superPacket(b)
	return r.bytes < batchBytes && r.read < batchFrames
}

// superPacket carries the packet or super-packet of a frame.
func (r *reader) superPacket(frame []byte) {
	if len(frame) < vnetHeader {
		r.drop(dropMalformed, 1)
		return
	}
	h, b := parseVnet(frame), frame[vnetHeader:]
	if h.gso == gsoNone {
		if h.complete(b) {
			r.packet(b)
		} else {
			r.drop(dropMalformed, 1)
		}
		return
	}
	if !r.flow.parse(b) || !r.segments.begin(h, &r.flow, b) {
		r.drop(dropMalformed, 1)
		return
	}
	mtu := int(r.mtu.Load())
	out := r.spd.lookup(&r.flow)
	if r.segments.largest() > mtu || r.segments.syn() || out == nil && r.policies.Load() != nil {
		// Each segment is answered, fragmented, changed or kept by itself.
		for r.segments.remaining() > 0 {
			r.packet(r.segments.next())
			r.segments.done()
		}
		return
	}
	if out == nil {
		r.drop(r.uncoveredReason(), r.segments.remaining())
		return
	}
	tos := outerTOS(trafficClass(b), r.copyDSCP.Load())
	for r.segments.remaining() > 0 {
		b := r.segments.next()
		if why := r.out.add(out, b, tos); why != carried {
			r.notSealed(out, b, why)
		}
		r.segments.done()
	}
}
