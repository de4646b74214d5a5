"""GPU hosts: what they are set up with, and how they end themselves when nobody looks after them any more."""
