package load

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"io"
	"slices"
)

// keptText is the text of a file that stays in memory while its configuration runs. A long one is compressed: of ten thousand
// connections it has 8 MB, and half of one then.
type keptText struct {
	text   []byte // nil: it is packed
	packed []byte
}

// keptWhole is how long a text is at most that stays as it is.
const keptWhole = 16 << 10

func keep(text []byte) keptText {
	if len(text) <= keptWhole {
		return keptText{text: slices.Clone(text)}
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return keptText{text: slices.Clone(text)}
	}
	return keptText{packed: slices.Clone(b.Bytes())}
}

// bytes is the text, in memory of the caller's.
func (k keptText) bytes() ([]byte, error) {
	if k.packed == nil {
		return slices.Clone(k.text), nil
	}
	return io.ReadAll(flate.NewReader(bytes.NewReader(k.packed)))
}

// MarshalJSON implements json.Marshaler: it is that of the text.
func (k keptText) MarshalJSON() ([]byte, error) {
	b, err := k.bytes()
	if err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *keptText) UnmarshalJSON(b []byte) error {
	var text []byte
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	*k = keep(text)
	return nil
}
