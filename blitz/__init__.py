"""A minimal implementation of what the notes teach."""
