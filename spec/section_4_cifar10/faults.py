"""Faults that several files of this section plant."""


def given(**forced):
    """Give a function some options, whatever the caller says."""
    return lambda real: lambda *args, **options: real(*args, **{**options, **forced})


def giving(change):
    """Let what a function gives be changed."""
    return lambda real: lambda *args, **options: change(real(*args, **options))
