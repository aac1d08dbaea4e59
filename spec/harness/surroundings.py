"""What a process may lack where it is started by a scheduler, a service or a container, and is given here."""

import getpass
import os
import sys
import tempfile

LONGEST = (
    70  # bytes of a folder for sockets: macOS takes names of 103, and multiprocessing adds 33 of its own
)


def open_streams() -> None:
    """Open what is closed of input, output and errors on nothing: the next file would take its number.

    Whatever a native library prints to standard error would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # as the lowest number that is free
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 -- until the process ends
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def name_the_user() -> None:
    """Name a user by number who has no other name: pytest and PyTorch name folders after users."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"user-{os.getuid()}"


def keep_sockets_short() -> None:
    """Have multiprocessing make its sockets in /tmp where the folder for temporary files has a long name.

    It remembers the folder, for this process and for all that it starts.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) > LONGEST and os.access("/tmp", os.W_OK):
        from multiprocessing.util import get_temp_dir

        try:
            tempfile.tempdir = "/tmp"
            get_temp_dir()
        finally:
            tempfile.tempdir = usual
