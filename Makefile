# make help lists the targets.

GO      ?= $(shell sh test/go.sh)
PREFIX  ?= /usr/local
DESTDIR ?=
FUZZTIME ?= 200000x
N       ?= 5
# The day of the vulnerability database, a Go module, that make vuln asks.
VULNDB  ?= v0.0.0-20261105234957-e22db6528018
# Vulnerabilities that are known and accepted, each in one version of a module: SECURITY.md says why.
VULNOK  ?= GO-2026-4736@github.com/osrg/gobgp/v3@v3.37.0

# make flake hands further flags to go test in TESTFLAGS.
TESTFLAGS ?=
# This many tests in namespaces run side by side. They wait most of the time.
PARALLEL ?= 6

# What install installs, and the group that reads the configuration; into a DESTDIR the packager sets it.
BIN     ?= bin/vpngw
GROUP    = $(if $(DESTDIR),,-g vpngw)

VERSION := $(shell git -c safe.directory='*' describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git -c safe.directory='*' rev-parse HEAD 2>/dev/null)
# The commit's time stands for the build's, so that one commit makes one binary and one package, bit for bit.
SOURCE_DATE_EPOCH ?= $(or $(shell git -c safe.directory='*' log -1 --format=%ct 2>/dev/null),0)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.commitTime=$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)
PKGVERSION ?= $(shell sh packaging/version.sh 2>/dev/null || echo 0.0)
ARCHS   ?= amd64 arm64
DISTDIR ?= bin/dist
DIST     = GO=$(GO) VERSION='$(VERSION)' PKGVERSION='$(PKGVERSION)' LDFLAGS='$(LDFLAGS)' ARCHS='$(ARCHS)' SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) sh packaging/dist.sh
UNITS    = $$($(GO) list ./... | grep -v -e '^vpngw/test$$' -e '^vpngw/test/')
# These start no goroutine, which test/layering_test.go holds them to, and are ten times slower with the race detector. The
# packages that run them in goroutines are tested with it.
PURE     = ./ike/... ./config/...
# They wait much of the time, so four packages run side by side.
RACED    = $$($(GO) list ./... | grep -v -e '^vpngw/test$$' -e '^vpngw/test/' -e '^vpngw/ike$$' -e '^vpngw/ike/' -e '^vpngw/config$$' -e '^vpngw/config/')
RACE     = $$(command -v gcc >/dev/null && [ "$$($(GO) env CGO_ENABLED)" = 1 ] && echo -race)

# VERSION names the commit already, and git refuses to tell Go about another user's clone.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false

# Where the machine's Go is older than go.mod's toolchain line, Go fetches that toolchain through the module
# proxy, whatever the environment says. `make GOTOOLCHAIN=local` keeps the machine's own.
export GOTOOLCHAIN := auto

.PHONY: build demo test flake check vuln bench bench-distance bench-handshakes gobench fuzz soak install uninstall clean help go setup
.PHONY: deb rpm tarball dist package-test compose-test systemd-test page-test metrics-test peers
.DEFAULT_GOAL := build

build: go ## bin/vpngw, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/vpngw ./cmd/vpngw
	@[ -z "$$SUDO_UID" ] || chown "$$SUDO_UID:$$SUDO_GID" bin bin/vpngw

deb rpm tarball: go ## a package in bin/dist, for amd64 and arm64 (ARCHS, PKGVERSION, MAINTAINER, DISTDIR)
	@$(DIST) $(DISTDIR) $@

dist: go ## all packages, static tarballs, bills of materials and SHA256SUMS in bin/dist
	@rm -f $(DISTDIR)/vpngw[-_]* $(DISTDIR)/SHA256SUMS
	@$(DIST) $(DISTDIR) deb rpm tarball

package-test: go setup ## the packages in a clean Debian 12 and 13 that are booted, and built twice: 5 to 10 minutes (root)
	PACKAGES=$${PACKAGES:-1} GO=$(GO) $(GO) test -v -count=1 -timeout 60m -run '^TestPackage' ./test

demo: go setup ## a tunnel to a real strongSwan, step by step (root; DEMO_KEEP=1 leaves it up)
	@GO=$(GO) $(GO) run ./test/demo

test: go setup ## every test: about 12 minutes on two cores; as root also those that need network namespaces
	@failed=0; set -x; \
	$(GO) test $(TESTFLAGS) $(PURE) ./test/hostile || failed=1; \
	$(GO) test $(TESTFLAGS) $(RACE) -p 4 $(RACED) || failed=1; \
	$(GO) test $(TESTFLAGS) -v -count=1 -p 1 -parallel $(PARALLEL) -timeout 30m $$($(GO) list ./test/... | grep -v -e '/hostile$$') || failed=1; \
	{ set +x; } 2>/dev/null; exit $$failed

systemd-test: go setup ## the unit under the real systemd of Debian 12 and 13, in containers that debootstrap makes once: 3 to 6 minutes (root)
	SYSTEMD_TEST=1 $(GO) test -v -count=1 -timeout 30m -run '^(TestUnit|TestSystemd)' ./test

compose-test: go setup ## vpngw in a container, by the Dockerfile and docker-compose.yml, to strongSwan in containers: six scenarios, 3 to 4 minutes (root)
	CI=true COMPOSE=all $(GO) test $(TESTFLAGS) -v -count=1 -timeout 30m -run '^TestCompose$$' ./test

flake: go ## make test N=5 times: which tests failed how often (root; FLAKE_RUN=regexp: these tests only)
	@$(GO) run ./test/flake -n $(N) -run '$(FLAKE_RUN)' .ci/run

check: go ## format, vet, staticcheck, go.mod, layering and package comments
	@out=$$($(GO) tool gofumpt -l .) && [ -z "$$out" ] || { echo "gofumpt -w these: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) test -count=1 -run '^(TestImportsGoDownOnly|TestProtocolReadsNoClock|TestPackagesSayWhatTheyAre|TestFilesAreShort)$$' ./test

vuln: go ## known vulnerabilities in what our code calls, but those accepted in SECURITY.md, without the network once the modules are there
	@db=$$($(GO) mod download -json golang.org/x/vulndb@$(VULNDB) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p'); \
	[ -n "$$db" ] || { echo "no database: golang.org/x/vulndb@$(VULNDB) is not to be had"; exit 1; }; \
	$(GO) version; found=$$(mktemp) && trap 'rm -f "$$found"' EXIT; set -ex; \
	$(GO) tool govulncheck -format json -db "file://$$db/data/osv" ./... >"$$found"; $(GO) run ./test/vuln -accept '$(VULNOK)' <"$$found"

page-test: go ## the status page in headless Chromium; the pictures stay in bin/pages (root installs Chromium where it is missing)
	@command -v chromium >/dev/null || { sh test/setup.sh chromium && command -v chromium >/dev/null; }
	mkdir -p bin/pages && VPNGW_PAGES=$(CURDIR)/bin/pages $(GO) test -count=1 -v -run TestABrowserShowsThePage ./control/page

bench: go setup ## vpngw beside wireguard-go, strongSwan and a plain relay: a table, 25 minutes (root; BENCH=quick: 5)
	@GO=$(GO) $(GO) run -ldflags '-X main.commit=$(VERSION)' ./test/bench

bench-distance: go setup ## TCP at 20 and 100 ms, with and without loss, by itself and in tunnels: a table, 4 hours (root; BENCH_ROUNDS=n, BENCH_SECONDS=n: shorter)
	@GO=$(GO) $(GO) run -ldflags '-X main.commit=$(VERSION)' ./test/bench distance

bench-handshakes: go setup ## what an IKEv2 handshake costs the answering end, beside strongSwan: a table, 1 minute (root)
	@GO=$(GO) $(GO) run -ldflags '-X main.commit=$(VERSION)' ./test/bench handshakes

gobench: go ## the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem $(UNITS)

fuzz: go ## every fuzz target for 200 000 executions, and a million hostile messages (FUZZTIME=n, HOSTILE=n)
	@GO=$(GO) sh test/fuzz.sh $(FUZZTIME)

soak: go setup ## the tests with the full counts and matrices, one by one, and figures held to their bars: hours (root; CHARON_ROOT=DIR: against the strongSwan in DIR, the root of another Debian; BGP_ROOT=DIR: likewise BIRD and FRR)
	SOAK=1 $(GO) test -v -count=1 -p 1 -parallel 1 -timeout 12h ./ike ./esp ./lanes ./config/export ./test/...

peers: go setup ## real peers with kernels of their own, in guests that qemu emulates and debootstrap makes once: a table, 40 minutes (root; PEER=libreswan-5.2: one peer, CELL=IKEv1: some cells)
	CI=true PEERS=1 PEER='$(PEER)' CELL='$(CELL)' $(GO) test $(TESTFLAGS) -v -count=1 -timeout 3h -run '^TestPeers$$' ./test

metrics-test: go setup ## a real Prometheus: each alert provoked, each query of the dashboard asked (root; installs Debian's prometheus)
	METRICS=1 $(GO) test -v -count=1 -timeout 20m -run '^TestPrometheus' ./test

install: ## installs binary, example configuration and systemd unit, and makes the unit's user (PREFIX, DESTDIR)
	@[ -x $(BIN) ] || { echo "nothing to install yet: run make build"; exit 1; }
	[ -n "$(DESTDIR)" ] || sh cmd/vpngw/user.sh
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/vpngw
	install -d $(GROUP) -m 750 $(DESTDIR)/etc/vpngw
	[ -e $(DESTDIR)/etc/vpngw/vpngw.yaml ] || install $(GROUP) -m 640 cmd/vpngw/vpngw.example.yaml $(DESTDIR)/etc/vpngw/vpngw.yaml
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@BIN@|$(PREFIX)/bin/vpngw|' cmd/vpngw/vpngw.service.in >$(DESTDIR)$(PREFIX)/lib/systemd/system/vpngw.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/vpngw.service
	install -D -m 644 cmd/vpngw/vpngw.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/vpngw.conf
	install -D -m 644 cmd/vpngw/vpngw.sysctl $(DESTDIR)$(PREFIX)/share/doc/vpngw/sysctl.d/60-vpngw.conf
	install -D -m 644 cmd/vpngw/vpngw.modules $(DESTDIR)$(PREFIX)/share/doc/vpngw/modules-load.d/vpngw.conf

uninstall: ## removes what install put there, but not /etc/vpngw and the user, and what a stopped daemon left in the kernel
	[ -n "$(DESTDIR)" ] || $(PREFIX)/bin/vpngw clean
	rm -f $(DESTDIR)$(PREFIX)/bin/vpngw $(DESTDIR)$(PREFIX)/lib/systemd/system/vpngw.service $(DESTDIR)$(PREFIX)/lib/sysusers.d/vpngw.conf
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/vpngw

clean: ## removes the outputs of make build
	rm -rf bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# go stops with a remedy where there is no Go, which test/go.sh has printed, or no toolchain.
go:
	@[ -n "$(GO)" ] || exit 1
	@$(GO) version >/dev/null || { echo "make GOTOOLCHAIN=local $(MAKECMDGOALS)  uses the machine's own Go"; exit 1; }

# ALSO are Debian packages that the tests of the targets asked for need beside those of all.
package-test_ALSO := debootstrap systemd-container util-linux lintian rpm dpkg file make
systemd-test_ALSO := systemd-container debootstrap strace
metrics-test_ALSO := prometheus
peers_ALSO := qemu-system-x86 busybox-static debootstrap e2fsprogs
ALSO := $(strip $(foreach goal,$(MAKECMDGOALS),$($(goal)_ALSO)))

# setup installs missing packages if it runs as root. Otherwise the tests that need them are skipped.
setup:
	@if [ "$$(id -u)" = 0 ]; then sh test/setup.sh && { [ -z "$(ALSO)" ] || sh test/setup.sh $(ALSO); }; else \
		echo "NOT ROOT: whatever needs network namespaces is skipped. Run: sudo make $(MAKECMDGOALS)"; fi
