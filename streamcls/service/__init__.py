"""What a service needs around the runtime: logs, and later the notification of systemd, control and evidence."""
