"""The specification: the statements of the notes, section by section."""
