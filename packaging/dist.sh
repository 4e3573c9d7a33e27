#!/bin/sh
# Makes the packages: dist.sh OUTPUT FORMAT…, where a format is deb, rpm or tarball. The Makefile sets the variables. All
# that is in a package comes from the source, the Go release and the variables, so two runs give the same bytes: no clock,
# host name, user or folder of this machine goes in.
set -eu
: "${GO:?}" "${VERSION:?}" "${PKGVERSION:?}" "${SOURCE_DATE_EPOCH:?}" "${LDFLAGS:?}"
: "${ARCHS:=amd64 arm64}" "${MAINTAINER:=vpngw maintainers <maintainers@vpngw.invalid>}"
export SOURCE_DATE_EPOCH PKGVERSION MAINTAINER CGO_ENABLED=0 LC_ALL=C TZ=UTC
umask 022

mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# nfpm brings 60 modules that no other part needs, so it has a go.mod of its own. NFPM names one that was built before.
if [ -z "${NFPM:-}" ]; then
	NFPM=$work/nfpm
	case " $* " in *" deb "* | *" rpm "*) "$GO" build -modfile=tools/go.mod -o "$NFPM" github.com/goreleaser/nfpm/v2/cmd/nfpm ;; esac
fi
# The programs that run here are of this machine's own architecture.
"$GO" build -trimpath -ldflags "$LDFLAGS" -o "$work/vpngw" ./cmd/vpngw
"$GO" build -o "$work/sbom" ./packaging/sbom

# licenses prints the license of each module that is in a program, and of Go.
licenses() {
	echo "vpngw contains parts of Go and of the modules below. Their licenses:"
	{
		echo "Go $("$GO" env GOROOT)"
		"$GO" version -m "$1" | awk '$1 == "dep" { print $2 }' | xargs "$GO" list -m -f '{{.Path}}@{{.Version}} {{.Dir}}'
	} | while read -r module dir; do
		printf '\n==== %s ====\n' "$module"
		for f in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE* "$dir"/PATENTS*; do
			[ ! -f "$f" ] || { echo && cat "$f"; }
		done
	done
}

# share fills a folder with what is the same for all architectures.
share() {
	mkdir -p "$1/man" "$1/completions" "$1/examples/sysctl.d" "$1/examples/modules-load.d"
	"$work/vpngw" man "$1/man"
	"$work/vpngw" completion bash >"$1/completions/vpngw.bash"
	"$work/vpngw" completion zsh >"$1/completions/_vpngw"
	"$work/vpngw" completion fish >"$1/completions/vpngw.fish"
	cp cmd/vpngw/vpngw.example.yaml "$1/examples/vpngw.yaml"
	cp cmd/vpngw/vpngw.sysctl "$1/examples/sysctl.d/60-vpngw.conf"
	cp cmd/vpngw/vpngw.modules "$1/examples/modules-load.d/vpngw.conf"
	cp -R README.md SECURITY.md CHANGELOG.md LICENSE docs "$1"
}

stage() {
	s=$work/$arch
	mkdir -p "$s"
	GOARCH=$arch "$GO" build -trimpath -ldflags "$LDFLAGS" -o "$s/vpngw" ./cmd/vpngw
	share "$s"
	sed 's|@BIN@|/usr/bin/vpngw|' cmd/vpngw/vpngw.service.in >"$s/vpngw.service"
	cp cmd/vpngw/vpngw.sysusers "$s"
	licenses "$s/vpngw" >"$s/licenses.txt"
	"$work/sbom" -version "$VERSION" -epoch "$SOURCE_DATE_EPOCH" "$s/vpngw" >"$s/sbom.cdx.json"
}

packed() {
	p=$work/packed-$arch
	[ ! -d "$p" ] || return 0
	mkdir "$p"
	cp -R "$s/." packaging/nfpm.yaml packaging/scripts "$p"
	gzip -9n "$p"/man/* "$p/CHANGELOG.md"
	printf 'vpngw (%s-1) unstable; urgency=medium\n\n  * Version %s. What is new stands in changelog.gz.\n\n -- %s  %s\n' \
		"$PKGVERSION" "$VERSION" "$MAINTAINER" "$(date -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$p/changelog.Debian.gz"
	cp packaging/copyright packaging/lintian-overrides "$p"
	# The scripts run before or after the files are there, so each has all of itself.
	for f in "$p"/scripts/*; do
		sed -i -e "/^# @common@\$/{r packaging/scripts/common.sh" -e 'd;}' \
			-e "/^# @sysusers@\$/{r $s/vpngw.sysusers" -e 'd;}' "$f"
	done
	chmod -R u=rwX,go=rX "$p"
	find "$p" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

tarball() {
	name=vpngw-$PKGVERSION-linux-$arch
	cp -R "$s" "$work/$name"
	# Where an administrator puts a program that no package knows.
	sed 's|@BIN@|/usr/local/bin/vpngw|' cmd/vpngw/vpngw.service.in >"$work/$name/vpngw.service"
	chmod -R u=rwX,go=rX "$work/$name"
	tar -C "$work" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - "$name" |
		gzip -9n >"$out/$name.tar.gz"
	cp "$s/sbom.cdx.json" "$out/$name.cdx.json"
	rm -rf "${work:?}/$name"
}

for arch in $ARCHS; do
	stage
	for format; do
		case $format in
		tarball) tarball ;;
		deb | rpm) packed && (cd "$p" && ARCH=$arch "$NFPM" package -f nfpm.yaml -p "$format" -t "$out/") ;;
		*) echo "dist.sh: no format $format: deb, rpm or tarball" >&2 && exit 2 ;;
		esac
	done
done
(cd "$out" && sha256sum -- *.deb *.rpm *.tar.gz *.cdx.json 2>/dev/null >SHA256SUMS || true)
