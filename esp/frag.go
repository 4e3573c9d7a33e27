package esp

import "encoding/binary"

// fragments cuts the IPv4 packet b, whose header is valid, into fragments of at
// most mtu bytes (RFC 791 section 3.2) and hands each to emit in order. It builds each in
// buf, over the one before. b may be a fragment itself. false: mtu or buf leaves no
// room for any data, or b cannot be reassembled.
func fragments(buf, b []byte, mtu int, emit func([]byte)) bool {
	header := int(b[0]&15) * 4
	word := binary.BigEndian.Uint16(b[6:])
	first, last := word&^moreFragments, word&moreFragments // of the whole b
	mtu = min(mtu, len(buf))
	if int(word&fragmentOffset)*8+len(b)-header > 0xffff {
		return false // the reassembled packet would be too long
	}
	at := 0
	for data := b[header:]; len(data) > 0; {
		h := copy(buf[:min(header, mtu)], b)
		if h == header && at > 0 {
			h = laterOptions(buf[:header])
		}
		room := (mtu - h) &^ 7
		n := len(data)
		more := last
		if h+n > mtu {
			n, more = room, moreFragments
		}
		if h < ipv4Header || room < 8 {
			return false
		}
		binary.BigEndian.PutUint16(buf[2:], uint16(h+n))
		binary.BigEndian.PutUint16(buf[6:], (first+uint16(at/8))|more)
		buf[10], buf[11] = 0, 0
		binary.BigEndian.PutUint16(buf[10:], checksum(0, buf[:h]))
		copy(buf[h:], data[:n])
		emit(buf[:h+n])
		data, at = data[n:], at+n
	}
	return true
}

// laterOptions removes from an IPv4 header the options without the copied flag, which only the first
// fragment carries, and returns the new length of the header.
func laterOptions(header []byte) int {
	out := ipv4Header
	for at := ipv4Header; at < len(header); {
		kind := header[at]
		if kind == 0 {
			break
		}
		n := 1
		if kind != 1 {
			if at+1 >= len(header) || header[at+1] < 2 || at+int(header[at+1]) > len(header) {
				break
			}
			n = int(header[at+1])
		}
		if kind&0x80 != 0 {
			out += copy(header[out:], header[at:at+n])
		}
		at += n
	}
	for out%4 != 0 {
		header[out] = 0
		out++
	}
	header[0] = 0x40 | byte(out/4)
	return out
}
