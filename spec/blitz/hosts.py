"""Two hosts on one machine: network namespaces with a cable between them, over the same files."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress

from spec.harness.records.vocabulary import REASONS
from spec.harness.statements.contract import not_checked

ADDRESSES = ("192.0.2.1", "192.0.2.2")


@contextmanager
def two_hosts():
    """Yield the names of two hosts; where this machine lets no one make them, the test is not checked."""
    if not shutil.which("ip"):
        not_checked("no-namespaces")
    names = [f"blitz-{os.getpid()}-{number}" for number in range(2)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ends = ["netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1]]
            ip("link", "add", "cable", *ends)
        except subprocess.CalledProcessError as error:
            not_checked("no-namespaces", f"{REASONS['no-namespaces']}: {error.stderr.strip()}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "cable", "up")
        yield names
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError):  # of one that could not be made
                for process in ip("netns", "pids", name).split():
                    with suppress(ProcessLookupError):
                        os.kill(int(process), signal.SIGKILL)
                ip("netns", "delete", name)


@contextmanager
def unplugged(name):
    """Have the link of one host down for a while: both see that theirs is."""
    ip("-n", name, "link", "set", "cable", "down")
    try:
        yield
    finally:
        ip("-n", name, "link", "set", "cable", "up")


def ip(*words):
    """Run the command `ip` of Linux, and return what it prints."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
