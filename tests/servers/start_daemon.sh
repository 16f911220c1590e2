#!/bin/sh
# start_daemon.sh PIDFILE NAME COMMAND...: start a daemon and wait until its pid file names it, as systemd does for
# Type=forking: the process that was started may end before. After five seconds the caller finds out by itself.
pidfile=$1 name=$2
shift 2
"$@" || exit
for _ in $(seq 500); do
    sh "${0%/*}/pid_of.sh" "$pidfile" "$name" >/dev/null && exit
    sleep 0.01
done
