package control

import (
	_ "embed"
	"encoding/json"
)

// openAPI describes the interface. A test writes the schemas of the answers from the types, and holds the whole against the answers.
//
//go:embed openapi.json
var openAPI json.RawMessage
