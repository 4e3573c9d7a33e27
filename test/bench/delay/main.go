// Command delay is a long link: it carries Ethernet frames between two devices,
// each some time after it came, at a rate, with a queue, and loses a part of them.
// The kernel's netem does the same, where there is one.
//
// Frames are super-packets where their senders make such, so that a relay in user space is
// faster than what it delays. But each packet of a super-packet counts, is sent at the link's rate, and is lost or
// kept by itself, as on a cable behind a network card that cuts. The rest goes on as super-packets, which
// is what a network card that merges would make of it.
//
// Which packets are lost depends on the seed and on how many went before. SIGHUP prints what
// was carried since the last SIGHUP as a line of JSON, and begins the next series, so that the n-th measurements of
// all links lose the same packets. Nothing is lost before the first one.
//
//	delay [-delay 10ms] [-loss 0.001] [-rate 1000] [-queue 50ms] [-seed 1] DEVICE DEVICE
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	var p properties
	flag.DurationVar(&p.delay, "delay", 10*time.Millisecond, "of each direction")
	flag.Float64Var(&p.loss, "loss", 0, "part of the packets that are lost, in each direction")
	flag.Float64Var(&p.rate, "rate", 0, "Mbit/s of each direction; 0: as fast as it can")
	flag.DurationVar(&p.queue, "queue", 50*time.Millisecond, "how long a packet waits for its turn at most, with a rate")
	flag.Uint64Var(&p.seed, "seed", 1, "of what is lost")
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "delay:", run(p, flag.Arg(0), flag.Arg(1)))
	os.Exit(1)
}

// run carries frames until that fails.
func run(p properties, a, b string) error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // nothing is allocated while frames go by
	var socks [2]int
	for i, device := range []string{a, b} {
		var err error
		if socks[i], err = open(device); err != nil {
			return fmt.Errorf("%s: %w", device, err)
		}
	}
	links := [2]*link{}
	for i := range links {
		l, err := newLink(p, socks[i], socks[1-i])
		if err != nil {
			return err
		}
		links[i] = l
	}
	keepTime()
	var asked atomic.Bool
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	go func() {
		for range hup {
			asked.Store(true)
		}
	}()
	fmt.Println("ready")
	series := uint64(0)
	for {
		if asked.Swap(false) {
			series++
			text, err := json.Marshal([]stats{links[0].turn(series), links[1].turn(series)})
			if err != nil {
				return err
			}
			fmt.Println(string(text))
		}
		if err := turn(links, socks); err != nil {
			return err
		}
	}
}

const (
	tick = 50 * time.Microsecond // between two turns at least, so that a turn carries several frames
	look = time.Millisecond      // at most: the sockets' buffers hold more
	idle = 100                   // ms, when nothing is under way
)

// turn takes in what came, sends what is due, and sleeps.
func turn(links [2]*link, socks [2]int) error {
	now := time.Now().UnixNano()
	more, wait := false, look
	empty := true
	for _, l := range links {
		m, err := l.receive()
		if err != nil {
			return err
		}
		more = more || m
	}
	for _, l := range links {
		due, err := l.send(now)
		if err != nil {
			return err
		}
		if due > 0 {
			empty = false
			wait = min(wait, time.Duration(due-time.Now().UnixNano()))
		}
	}
	switch {
	case more:
	case empty:
		fds := []unix.PollFd{{Fd: int32(socks[0]), Events: unix.POLLIN}, {Fd: int32(socks[1]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, idle); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
	default:
		ts := unix.NsecToTimespec(int64(max(wait, tick)))
		unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	}
	return nil
}

// keepTime has this thread run before others, as a cable waits for no processor.
func keepTime() {
	priority := int32(1)
	unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority)))
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// open opens a packet socket that gives and takes a device's frames, each behind a virtio_net_hdr.
func open(device string) (int, error) {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	const buffer = 1 << 29
	for _, o := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, fmt.Errorf("setsockopt %d: %w", o.name, err)
		}
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: i.Index})
}
