package test

import (
	"os"
	"testing"

	"vpngw/test/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }

// soak says that full counts and matrices are wanted in place of samples.
var soak = os.Getenv("SOAK") != ""
