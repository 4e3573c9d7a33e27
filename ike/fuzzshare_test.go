package ike

import (
	"bytes"
	"fmt"
	"os"
)

// shareLog counts executions across the processes of a fuzzing run, by a byte for each in a file.
type shareLog struct {
	file   *os.File
	parent bool
}

const shareEnv = "VPNGW_FUZZ_SHARE"

func shareFile() shareLog {
	if name := os.Getenv(shareEnv); name != "" {
		file, _ := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		return shareLog{file: file}
	}
	file, err := os.CreateTemp("", "vpngw-fuzz")
	if err != nil {
		return shareLog{}
	}
	os.Setenv(shareEnv, file.Name())
	return shareLog{file, true}
}

func (s shareLog) note(established bool) {
	if s.file == nil {
		return
	}
	if established {
		s.file.WriteString("+")
	} else {
		s.file.WriteString("-")
	}
}

func (s shareLog) print(target string) {
	if s.file == nil || !s.parent {
		return
	}
	all, _ := os.ReadFile(s.file.Name())
	os.Remove(s.file.Name())
	os.Unsetenv(shareEnv)
	if n := len(all); n > 0 {
		fmt.Printf("%s: share of executions that reach an established SA: %d %% of %d\n", target, 100*bytes.Count(all, []byte("+"))/n, n)
	}
}
