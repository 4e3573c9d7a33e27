package control

import (
	"errors"
	"net/url"

	"vpngw/doctor"
)

// Diagnoses is the answer to GET /v1/diagnosis.
type Diagnoses struct {
	Tunnels []doctor.Diagnosis `json:"tunnels"`
}

func readName(q url.Values) (any, error) {
	if q.Get("name") == "" {
		return nil, errors.New("name must be that of a connection or tunnel")
	}
	return q.Get("name"), nil
}
