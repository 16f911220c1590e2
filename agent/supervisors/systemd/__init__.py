"""systemd as the supervisor of a service, over D-Bus or by systemctl."""
