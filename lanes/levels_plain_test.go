//go:build !amd64 || purego

package lanes

import "testing"

func everyLevel(t *testing.T, f func(t *testing.T)) { f(t) }

func benchEveryLevel(b *testing.B, f func(b *testing.B)) { b.Run("plain", f) }
