"""Training the notes' nets: each module knows only those before it."""
