// Package hostile has tests only: what strangers and peers that misbehave send to Endpoints, in every state of
// their exchanges, and what must hold afterwards. It drives them in process, by what package ike exports.
package hostile
