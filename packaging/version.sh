#!/bin/sh
# Prints the version of the packages: a tag v1.2.3 is 1.2.3, v1.2.3-rc1 is 1.2.3~rc1, which sorts before it, and five
# commits later it is 1.2.3+5.g<commit>. Without a tag the commit's time gives an order.
set -eu
git() { command git -c safe.directory='*' "$@"; }

if tag=$(git describe --tags --match 'v[0-9]*' --abbrev=0 2>/dev/null); then
	base=$(echo "${tag#v}" | tr - '~')
	after=$(git rev-list --count "$tag..HEAD")
	[ "$after" = 0 ] || base=$base+$after.g$(git rev-parse --short HEAD)
else
	base=0.0~git$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y%m%d%H%M%S).$(git rev-parse --short HEAD)
fi
git diff --quiet HEAD || base=$base+dirty
echo "$base"
