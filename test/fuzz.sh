#!/bin/sh
# Runs every fuzz target of the module for the number of executions given
# ("200000x") and prints each figure beside its bar, then random games of the two that are stateful (PLAYS, a
# million each), and then the hostile cases (HOSTILE, a million).
set -eu
count=${1:-200000x}
go=${GO:-go}
bar=${count%x}
failed=0
# What a killed target leaves goes with this directory.
TMPDIR=$(mktemp -d) && export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
out=$(mktemp)
trap 'exit 1' INT TERM

for pkg in $("$go" list ./...); do
	for target in $("$go" test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		if "$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$count" -fuzzminimizetime 10x "$pkg" >"$out" 2>&1; then
			verdict=ok
		else
			verdict=FAILED
			failed=1
			cat "$out"
		fi
		execs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$out" | tail -1)
		[ "${execs:-0}" -ge "$bar" ] || { verdict="FAILED (too few)"; failed=1; }
		printf '%-8s %-22s %-28s %s executions, bar %s\n' "$verdict" "$pkg" "$target" "${execs:-0}" "$bar"
		grep -h 'share of' "$out" | tail -1 || true
	done
done

if PLAYS=${PLAYS:-1000000} GAMES=$("$go" env GOCACHE)/fuzz/vpngw/ike "$go" test -count=1 -timeout 12h -v -run '^TestGamesAtRandom$' ./ike >"$out" 2>&1; then
	sed -n 's/.*games_test.go:[0-9]*: /ok       vpngw\/ike              /p' "$out"
else
	failed=1
	cat "$out"
fi

cases=${HOSTILE:-1000000}
if HOSTILE=$cases "$go" test -count=1 -timeout 12h -v -run '^TestHostileMatrix$' ./test/hostile >"$out" 2>&1; then
	verdict=ok
else
	verdict=FAILED
	failed=1
	cat "$out"
fi
played=$(sed -n 's/.* \([0-9]*\) cases$/\1/p' "$out" | tail -1)
printf '%-8s %-22s %-28s %s cases, bar %s\n' "$verdict" vpngw/test/hostile TestHostileMatrix "${played:-0}" "$cases"
exit $failed
