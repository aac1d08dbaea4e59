"""The systems that section 6 of the notes points to, each a module of its own to be read in ten minutes.

Each is a class that `blitz chapter NAME` runs (see System in blitz.commands.chapter): a training that can
stop after any step and go on from its state_dict() as if it never had.
"""
