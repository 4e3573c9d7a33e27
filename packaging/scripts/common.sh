# adopt opens /etc/vpngw, which root alone could read, to the group that the daemon runs in. It is called once: modes are the
# administrator's from then on.
adopt() {
	# The folder itself comes last, so that an interrupted run is done again.
	find /etc/vpngw -depth -xdev -user root -group root \( -type d -o -type f \) \
		-exec chmod g-w,g+rX {} + -exec chgrp vpngw {} +
	chmod o= /etc/vpngw
}

# old_unit is what `make install` made. systemd prefers it to the package's unit, and a shell its program.
old_unit=/usr/local/lib/systemd/system/vpngw.service

made_install() { [ -f $old_unit ] && grep -q '^ExecStart=.*/vpngw run -c ' $old_unit; }

# aside moves both out of the way. They can be moved back after the package was removed.
aside() {
	mv -f $old_unit $old_unit.before-package
	echo "vpngw: $old_unit, of make install, hid the package's unit; it is $old_unit.before-package now"
	if [ -f /etc/systemd/system/vpngw.service ] && [ ! -L /etc/systemd/system/vpngw.service ]; then
		echo "vpngw: /etc/systemd/system/vpngw.service stays, and hides the package's unit; /usr/local/bin/vpngw stays too"
	elif [ -f /usr/local/bin/vpngw ] && [ ! -L /usr/local/bin/vpngw ]; then
		mv -f /usr/local/bin/vpngw /usr/local/bin/vpngw.before-package
		echo "vpngw: /usr/local/bin/vpngw, of make install, is /usr/local/bin/vpngw.before-package now"
	fi
}

# running says whether there is a daemon to replace. One that fails and is about to be started again counts.
running() {
	case $(systemctl show -p ActiveState --value vpngw.service 2>/dev/null) in
	active | activating | reloading) ;;
	*) return 1 ;;
	esac
}

# accepts asks the new program, as the user of the unit, whether it can run the configuration. If not, the old daemon
# keeps on running: its tunnels are worth more than the new version.
accepts() {
	[ -e /etc/vpngw/vpngw.yaml ] || return 0
	user=$(systemctl show -p User --value vpngw.service 2>/dev/null)
	# A key may be a credential, which systemd has handed over to the old daemon.
	export CREDENTIALS_DIRECTORY=/run/credentials/vpngw.service
	if problems=$(runuser -u "${user:-root}" -- /usr/bin/vpngw check -c /etc/vpngw/vpngw.yaml 2>&1); then return 0; fi
	echo "$problems"
	echo "vpngw: the daemon was not restarted and the old version still runs, because the new one, as user ${user:-root},"
	echo "vpngw: cannot run /etc/vpngw/vpngw.yaml as above. Repair that, then: systemctl restart vpngw"
	return 1
}
