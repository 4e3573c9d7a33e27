#!/bin/sh
# Prints the path of a Go that can build this module: sudo's secure_path lacks
# the folders where Go usually is. Go fetches a newer toolchain by itself where
# go.mod asks for one, hence any Go since 1.21 will do.
set -eu

home=
[ -z "${SUDO_USER:-}" ] || home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go /usr/lib/go-1.*/bin/go /snap/bin/go \
	"${HOME:-/root}"/go/bin/go "${HOME:-/root}"/sdk/go*/bin/go \
	${home:+"$home"/go/bin/go "$home"/sdk/go*/bin/go "$home"/.local/go/bin/go}; do
	[ -x "$go" ] || continue
	case $("$go" env GOVERSION 2>/dev/null) in
	go1.2[1-9]* | go1.[3-9][0-9]* | go[2-9]*)
		echo "$go"
		exit 0
		;;
	esac
done
cat >&2 <<'END'
No Go was found: not in PATH, nor in /usr/local/go/bin, nor in a home's go or sdk folder.
Install Go 1.26 or later (https://go.dev/dl/; unpack it to /usr/local/go),
or say where it is: make GO=/path/to/bin/go
END
exit 1
