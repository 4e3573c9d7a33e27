package page

import (
	"slices"
	"strconv"
)

// spark is the traffic of the last hour as the points of two lines, in and out, in a box of sparkWidth × sparkHeight.
type spark struct {
	In, Out string
	Peak    string // the highest rate; empty: there was no traffic
}

const (
	sparkStep   = 2
	sparkWidth  = (minutes - 1) * sparkStep
	sparkHeight = 22
)

func draw(in, out [minutes]uint32) spark {
	peak := max(slices.Max(in[:]), slices.Max(out[:]))
	if peak == 0 {
		return spark{}
	}
	return spark{line(in, peak), line(out, peak), bytes(uint64(peak)) + "/s"}
}

func line(rates [minutes]uint32, peak uint32) string {
	b := make([]byte, 0, minutes*7)
	for i, r := range rates {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(i*sparkStep), 10)
		b = append(b, ',')
		b = strconv.AppendUint(b, uint64(sparkHeight)-uint64(r)*(sparkHeight-1)/uint64(peak), 10)
	}
	return string(b)
}
