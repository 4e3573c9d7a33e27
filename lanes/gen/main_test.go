package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestTheFilesAreWhatTheGeneratorWrites(t *testing.T) {
	for name, f := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, generate(f)) {
			t.Errorf("%s is not what gen writes: go generate ./lanes", name)
		}
	}
}

var (
	vector  = regexp.MustCompile(`^[XYZ][0-9]+$`)
	general = regexp.MustCompile(`^([A-D]X|[SD]I|R[0-9]+)$`)
	memory  = regexp.MustCompile(`\(`)
	pointer = regexp.MustCompile(`^[0-9]*\((SI|DI|R1[23])\)$`)
	// What a branch may depend on: the numbers of blocks and of rounds, and whether there is a pointer.
	condition = regexp.MustCompile(`^(DECQ CX|TESTQ (CX, CX|SI, SI|R11, R11|R12, R12)|CMPQ (CX|BX), \$[0-9]+)$`)
)

// TestTimeDependsOnLengthsAlone holds what is written to rules under which neither a branch nor an address depends on
// a key or on data: these are in vector registers and in memory, never in a general register or in flags.
func TestTimeDependsOnLengthsAlone(t *testing.T) {
	for name, f := range files {
		if name == "cpuid_amd64.s" {
			continue
		}
		before, lines := "", 0
		for s := bufio.NewScanner(bytes.NewReader(generate(f))); s.Scan(); {
			if !strings.HasPrefix(s.Text(), "\t") {
				continue
			}
			line := strings.TrimSpace(s.Text())
			if why := broken(line, before); why != "" {
				t.Errorf("%s: %q after %q: %s", name, line, before, why)
			}
			before = line
			lines++
		}
		if lines < 500 {
			t.Errorf("%s: %d instructions only", name, lines)
		}
	}
}

// broken says which rule an instruction breaks; before is the instruction before it.
func broken(line, before string) string {
	op, rest, _ := strings.Cut(line, " ")
	args := strings.Split(rest, ", ")
	switch {
	case op == "JMP" || op == "RET" || op == "VZEROUPPER":
		return ""
	case op[0] == 'J':
		if !condition.MatchString(before) {
			return "a branch on something else than a length"
		}
		return ""
	case strings.Contains(op, "GATHER") || strings.Contains(op, "SCATTER"):
		return "addresses in a vector register"
	}
	to := args[len(args)-1]
	if !general.MatchString(to) || strings.HasPrefix(op, "TEST") || strings.HasPrefix(op, "CMP") {
		return ""
	}
	// A general register gets a parameter, a pointer, a constant, or what other general registers have.
	for _, from := range args[:len(args)-1] {
		switch {
		case vector.MatchString(from) || strings.HasPrefix(from, "K"):
			return "a vector register goes to a general register"
		case memory.MatchString(from) && op != "LEAQ":
			if op != "MOVQ" || !strings.HasSuffix(from, "(FP)") && !pointer.MatchString(from) {
				return "memory goes to a general register"
			}
		}
	}
	return ""
}

func TestTheRulesFindWhatTheyAreFor(t *testing.T) {
	for _, x := range [][2]string{
		{"JNE out", "TESTQ AX, AX"},
		{"JNE out", "VPTEST Y0, Y0"},
		{"VMOVQ X0, AX", ""},
		{"VPMOVMSKB Y0, AX", ""},
		{"KMOVQ K1, AX", ""},
		{"MOVBLZX (AX)(DX*1), BX", ""},
		{"MOVQ 8(AX), BX", ""},
		{"VPGATHERDD (AX)(Z1*4), K1, Z2", ""},
	} {
		if broken(x[0], x[1]) == "" {
			t.Errorf("%q after %q breaks no rule", x[0], x[1])
		}
	}
}
