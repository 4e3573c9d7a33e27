package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// credentialPrefix begins the name of a credential, which systemd hands over to the daemon (systemd.exec(5),
// LoadCredential=), where the configuration names a file: psk_file: credential:hq.
const credentialPrefix = "credential:"

// credentialFile is the file of a credential.
func credentialFile(name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return "", fmt.Errorf("the name of a credential is %q; expected is a name without a slash, as in LoadCredential=hq:/etc/vpngw/hq.psk", name)
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("only systemd hands over credential %s: LoadCredential=%s:FILE in vpngw.service; a command beside the running unit finds it with CREDENTIALS_DIRECTORY=/run/credentials/vpngw.service", name, name)
	}
	file := filepath.Join(dir, name)
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("systemd has handed over no credential %s: LoadCredential=%s:FILE in vpngw.service, and restart it, as a reload hands nothing over", name, name)
	}
	return file, nil
}

// handedOver reports whether root reads what systemd has handed over to a unit's user, who owns it there, on a file system
// that is read-only. Root says by CREDENTIALS_DIRECTORY that it believes that.
func handedOver(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	return os.Geteuid() == 0 && dir != "" && filepath.Dir(path) == filepath.Clean(dir)
}

// forbidden adds the remedy where this process's user may not open a file. Root may.
func forbidden(name string, err error) error {
	if !errors.Is(err, fs.ErrPermission) || os.Geteuid() == 0 {
		return err
	}
	who, group := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Errorf("user %s, which this process runs as, may not read it: chown root:%s %s; chmod 0640 %s; and 0750 for directories", who, group, name, name)
}
