#!/bin/sh
# pid_of.sh PIDFILE NAME: print the pid while a process of this name has it that is no zombie, else exit with 1.
# Builtins alone: supervisors ask ten times a second, and pgrep reads all of /proc.
exec 2>/dev/null
read -r pid _ <"$1"
read -r name <"/proc/$pid/comm" && [ "$name" = "$2" ] && read -r stat <"/proc/$pid/stat" || exit 1
case ${stat##*) } in
[ZX]*) exit 1 ;;
*) echo "$pid" ;;
esac
