"""Who may call models, how much of it, and what was used."""
