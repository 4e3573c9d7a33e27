package ikev2

import (
	"encoding/binary"
	"slices"
)

func concat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func be64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
