package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	condition = regexp.MustCompile(`^(DECQ CX|(ADDQ|SUBQ) \$[0-9]+, CX|TESTQ (CX, CX|SI, SI|R11, R11|R12, R12)|CMPQ (CX|BX), \$[0-9]+)$`)
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
		if lines < 50 {
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
	if strings.HasPrefix(op, "SET") || strings.HasPrefix(op, "CMOV") {
		return "flags go to a general register"
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
		{"SETNE AX", "VPTEST Y0, Y0"},
		{"CMOVQNE AX, BX", "VPTEST Y0, Y0"},
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

// wideFunctions are those for AVX-512 and VAES; a processor without them is given the others.
var wideFunctions = []string{"cbcEncryptX16", "cbcEncryptX4", "cbcDecryptWide", "blocksX16", "md5x16", "sha1x16", "sha256x16", "sha512x8", "gcmSeal", "gcmOpen"}

var onlyAVX512 = regexp.MustCompile(`\bZ[0-9]+|\b[XY](1[6-9]|2[0-9]|3[01])\b|\bK[0-7]\b|^VP?(TERNLOG|PROL|PROR)|BCST|(I32X|I64X|DQU64|DQA64|DQU32)|^VP(XOR|AND|OR)[DQ] `)

func TestOtherFunctionsNeedNoAVX512(t *testing.T) {
	for name, f := range files {
		function, checked := "", 0
		for s := bufio.NewScanner(bytes.NewReader(generate(f))); s.Scan(); {
			if rest, ok := strings.CutPrefix(s.Text(), "TEXT ·"); ok {
				function, _, _ = strings.Cut(rest, "(")
				continue
			}
			if !strings.HasPrefix(s.Text(), "\t") || slices.Contains(wideFunctions, function) {
				continue
			}
			checked++
			if line := strings.TrimSpace(s.Text()); onlyAVX512.MatchString(line) {
				t.Errorf("%s: %s has %q", name, function, line)
			}
		}
		if checked == 0 {
			t.Errorf("%s has nothing for AVX2", name)
		}
	}
	for _, line := range []string{"VPTERNLOGD $150, Y0, Y1, Y2", "VPRORD $6, Y0, Y1", "VMOVDQU64 (SI), Y0", "VPADDD.BCST (R8), Y0, Y1", "VPXOR X16, X0, X0", "VPXORD Y0, Y1, Y2", "KMOVW AX, K1"} {
		if !onlyAVX512.MatchString(line) {
			t.Errorf("%q passes", line)
		}
	}
}
