"""One small module per queue that is measured. Each runs in a process of its own, peers in an environment of their own."""
