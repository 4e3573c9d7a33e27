package lab

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelPackage has the smallest of Debian's kernels, with ESP and the devices of a virtual machine.
const kernelPackage = "linux-image-cloud-amd64"

// guestPackages are in every guest.
var guestPackages = []string{"iproute2", "kmod", kernelPackage}

// GuestTools are the programs that a test with guests needs.
var GuestTools = []string{"qemu-system-x86_64", "debootstrap", "mke2fs", "busybox"}

// guestImage is what a guest boots from.
type guestImage struct {
	root   string // the Debian as a directory
	disk   string // the same as a file system in a file, which no guest changes
	kernel string
	initrd string
}

// guestImage makes the image of a Debian with these packages, or finds it in the cache.
func (l *Lab) guestImage(suite string, packages []string) guestImage {
	l.Helper()
	g := guestImage{root: l.Debian(suite, packages)}
	g.disk = g.root + ".ext4"
	kernels, _ := filepath.Glob(g.root + "/boot/vmlinuz-*")
	if len(kernels) != 1 {
		l.Fatalf("lab: %s has %d kernels", g.root, len(kernels))
	}
	g.kernel = kernels[0]
	unlock := l.lock(g.disk + ".lock")
	defer unlock()
	if _, err := os.Stat(g.disk); err != nil {
		half := g.disk + ".new"
		os.Remove(half)
		l.tool(Patience*5, "", "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", g.root, half, "2G") // a file with holes
		if err := os.Rename(half, g.disk); err != nil {
			l.Fatalf("lab: %v", err)
		}
	}
	g.initrd = l.initrd(g)
	return g
}

// Debian is the root of a Debian of this suite with these packages and a kernel, from the cache.
func (l *Lab) Debian(suite string, packages []string) string {
	l.Helper()
	return l.debian(suite, slices.Concat(guestPackages, packages))
}

// agent is the program test/lab/guest, built once in a process.
var agent struct {
	sync.Once
	path string
	err  error
}

func (l *Lab) agent() string {
	l.Helper()
	agent.Do(func() {
		agent.path = Shared("guest")
		agent.err = build(agent.path, "./test/lab/guest")
	})
	if agent.err != nil {
		l.Fatalf("lab: %v", agent.err)
	}
	return agent.path
}

// bootModules find the disk.
var bootModules = []string{"virtio_pci", "virtio_blk", "ext4"}

// initrd makes the archive that finds the disk and goes on from there, with the agent, which is newer than the disk.
func (l *Lab) initrd(g guestImage) string {
	l.Helper()
	path := filepath.Join(l.Dir, filepath.Base(g.root)+".initrd")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	dir := path + ".d"
	version := strings.TrimPrefix(filepath.Base(g.kernel), "vmlinuz-")
	modules := filepath.Join(g.root, "lib/modules", version)
	load := ""
	copied := []string{"/usr/bin/busybox", "busybox", l.agent(), "agent"}
	for i, module := range moduleFiles(l, modules, bootModules) {
		name := fmt.Sprintf("%02d-%s", i, filepath.Base(module))
		copied = append(copied, filepath.Join(modules, module), name)
		load += "busybox insmod /" + name + "\n"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.Fatalf("lab: %v", err)
	}
	for i := 0; i < len(copied); i += 2 {
		text, err := os.ReadFile(copied[i])
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, copied[i+1]), text, 0o755)
		}
		if err != nil {
			l.Fatalf("lab: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte(fmt.Sprintf(firstInit, load)), 0o755); err != nil {
		l.Fatalf("lab: %v", err)
	}
	l.tool(Patience, "", "sh", "-ec", `cd "$1"; find . | busybox cpio -o -H newc >"$2"`, "sh", dir, path)
	os.RemoveAll(dir)
	return path
}

// firstInit is the guest's first program; secondInit is its process 1, with the disk as its root.
const firstInit = `#!/busybox sh
PATH=/
busybox mkdir -p /dev /proc /mnt
busybox mount -t devtmpfs dev /dev
%s
while ! [ -b /dev/vda ]; do busybox sleep 0.05; done
busybox mount -t ext4 /dev/vda /mnt
busybox mount -t devtmpfs dev /mnt/dev
busybox mount -t tmpfs tmpfs /mnt/run
busybox cp /agent /mnt/run/agent
busybox cat >/mnt/run/init <<'EOF'
` + secondInit + `EOF
exec busybox switch_root /mnt /bin/sh /run/init
`

const secondInit = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock
ln -sfn /run /var/run
modprobe -a virtio_net virtio_rng
for word in $(cat /proc/cmdline); do
	case $word in
	lab.control=*) control=${word#lab.control=} ;;
	esac
done
ip link set lo up
while ! ip link show eth1 >/dev/null 2>&1; do sleep 0.05; done
ip addr add $control/30 dev eth1
ip link set eth1 up
echo "the guest is ready"
while :; do /run/agent $control:7000 $control:7001 /run/charon.vici; done
`

// moduleFiles are the files of modules and of what they depend on, in the order to load them, below the directory of a kernel's modules.
func moduleFiles(l *Lab, dir string, names []string) []string {
	l.Helper()
	needs := map[string][]string{} // by module, files of which the first is its own
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		l.Fatalf("lab: %v", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		file, rest, _ := strings.Cut(s.Text(), ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		needs[strings.ReplaceAll(name, "-", "_")] = append([]string{file}, strings.Fields(rest)...)
	}
	var out []string
	for _, name := range names { // a module that is missing is built in
		for _, file := range slices.Backward(needs[name]) {
			if !slices.Contains(out, file) {
				out = append(out, file)
			}
		}
	}
	return out
}

// lock holds a file until the returned function is called. Labs of several processes may ask for it at once.
func (l *Lab) lock(path string) (unlock func()) {
	l.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		l.Fatalf("lab: %v", err)
	}
	return func() { f.Close() }
}

// debian is the root of a Debian with these packages, from the cache, which debootstrap fills.
func (l *Lab) debian(suite string, packages []string) string {
	l.Helper()
	all := slices.Clone(packages)
	slices.Sort(all)
	all = slices.Compact(all)
	sum := sha256.Sum256([]byte(strings.Join(all, ",")))
	root := filepath.Join(bootCache, suite+"-"+hex.EncodeToString(sum[:4]))
	if err := os.MkdirAll(bootCache, 0o755); err != nil {
		l.Fatalf("lab: %v", err)
	}
	unlock := l.lock(root + ".lock")
	defer unlock()
	if _, err := os.Stat(root); err == nil {
		return root
	}
	l.Logf("making a Debian %s in %s, once", suite, root)
	half := root + ".new"
	if err := os.RemoveAll(half); err != nil {
		l.Fatalf("lab: %v", err)
	}
	out, err := exec.Command("debootstrap", "--variant=minbase", "--include="+strings.Join(all, ","), suite, half).CombinedOutput()
	// A package may want a running systemd in its postinst, which cannot be there yet.
	if err != nil && !strings.Contains(string(out), "Base system installed successfully") {
		l.Fatalf("lab: debootstrap: %v\n%s", err, tail(string(out), 20))
	}
	archives, _ := filepath.Glob(half + "/var/cache/apt/archives/*.deb")
	for _, a := range archives {
		os.Remove(a)
	}
	if err := os.Rename(half, root); err != nil {
		l.Fatalf("lab: %v", err)
	}
	return root
}
