"""The platform under failing processes, connections, clocks and disks. ``python -m soak --help``; docs/soak.md."""
