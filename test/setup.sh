#!/bin/sh
# Installs the Debian packages that the demo and the tests need, if any is
# missing; with arguments these packages. Run as root; does nothing when everything is there.
set -eu

# gcc is for the race detector; libcharon-extra-plugins has strongSwan's
# user-space ESP, the other plugin packages its algorithms. Docker is for the labs in
# containers, whose base image debootstrap makes where no registry can be reached.
packages='
	strongswan-charon strongswan-swanctl libcharon-extra-plugins
	libstrongswan-standard-plugins libstrongswan-extra-plugins
	iproute2 iputils-ping nftables conntrack ethtool procps
	bird2 frr keepalived
	docker.io docker-compose debootstrap iptables
	iperf3 tcpdump tshark python3-scapy python3-cryptography
	systemd groff-base
	git ca-certificates gcc libc6-dev'
[ $# = 0 ] || packages="$*"

if ! command -v apt-get >/dev/null; then
	echo "setup: this is not Debian or Ubuntu; the tests need, by Debian's names:" $packages >&2
	exit 0
fi

missing=
for p in $packages; do
	case $(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true) in
	installed) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "setup: missing:$missing; run this as root (sudo)" >&2
	exit 1
fi

echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# A package must not start a daemon of its own: strongSwan's would hold port 500.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' INT TERM HUP
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends $missing >/dev/null
# Nor at the next boot: BIRD and FRR are routers for the labs only, which also start a Docker engine of their own.
for unit in bird frr prometheus; do
	case $missing in *" $unit"*) systemctl disable -q "$unit" 2>/dev/null || true ;; esac
done
case $missing in *" docker.io"*) systemctl disable -q docker.service docker.socket 2>/dev/null || true ;; esac
