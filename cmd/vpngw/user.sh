#!/bin/sh
# Makes the user and group vpngw that vpngw.service runs as. When it makes them, it also lets the group read what an
# installation of before, whose daemon was root, has left to root alone in /etc/vpngw. Later it leaves modes alone: a
# key may be root's, for LoadCredential=. Run as root.
set -eu

getent passwd vpngw >/dev/null && exit 0
nologin=/usr/sbin/nologin
[ -x $nologin ] || nologin=/sbin/nologin
getent group vpngw >/dev/null || groupadd --system vpngw
useradd --system --gid vpngw --no-create-home --home-dir /nonexistent --shell $nologin --comment 'IPsec VPN gateway' vpngw
[ -d /etc/vpngw ] || exit 0
# Not what another group or everybody may read already.
find /etc/vpngw -xdev \( -type f -o -type d \) -user root -group root ! -perm /007 \
	-exec chgrp vpngw {} + -exec chmod g=rX {} +
