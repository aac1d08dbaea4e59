"""The specification: the notes' claims, section by section."""
