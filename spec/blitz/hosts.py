"""Two hosts on one machine: network namespaces with a cable between them, over the same files."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

from spec.harness.statements.contract import REASONS, not_checked

PATIENCE = 5  # seconds that a process waits for another


class Training:
    """A `blitz train` that was started on both hosts; what each wrote is in `logs`."""

    def __init__(self):
        self.processes, self.logs = [], []

    def start(self, command, log):
        """Run `command`, and keep what it writes in the file `log`."""
        self.logs.append(log)
        with log.open("w") as file:
            self.processes.append(
                subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment())
            )

    def statuses(self):
        """Wait for both to end, which takes less than a minute, and return their exit statuses."""
        return [process.wait(60) for process in self.processes]

    def words(self):
        """Return what each has written."""
        return [log.read_text() for log in self.logs]


class Hosts:
    """Two hosts, numbered as torchrun numbers its nodes; the processes meet at the first."""

    addresses = ("192.0.2.1", "192.0.2.2")

    def __init__(self):
        self.names = [f"blitz-{os.getpid()}-{number}" for number in range(2)]
        self.trainings = []

    def build(self):
        """Make both, joined by a cable."""
        for name in self.names:
            self.ip("netns", "add", name)
        one, other = self.names
        self.ip("link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", other)

    def configure(self):
        """Give each its address."""
        for name, address in zip(self.names, self.addresses, strict=True):
            self.ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "link", "set", "cable", "up")

    def remove(self):
        """End all that runs on them, and let them go."""
        self.end()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    @staticmethod
    def processes_on(name):
        """Return the ids of the processes on one host."""
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        return [int(process) for process in found.stdout.split()]

    @contextmanager
    def unplugged(self):
        """Have the link of the first host down for a while: both see that theirs is."""
        self.ip("-n", self.names[0], "link", "set", "cable", "down")
        try:
            yield
        finally:
            self.ip("-n", self.names[0], "link", "set", "cable", "up")

    @contextmanager
    def silence(self):
        """Lose all that one sends to the other for a while: the links stay up, and no one is told."""
        nobody = ["lladdr", "02:00:00:00:00:99", "dev", "cable"]
        for name, other in zip(self.names, self.addresses[::-1], strict=True):
            self.ip("-n", name, "neighbor", "replace", other, *nobody)
        try:
            yield
        finally:
            for name, other in zip(self.names, self.addresses[::-1], strict=True):
                self.ip("-n", name, "neighbor", "delete", other, "dev", "cable")

    def train(self, folder, *words, restarts=0, meeting="fixed host"):
        """Start `blitz train --out FOLDER/out` on both, with a log each beside it.

        They meet at a "fixed host", the first, or by torchrun's rendezvous "c10d".
        """
        training = Training()
        self.trainings.append(training)
        for number, name in enumerate(self.names):
            where = ["ip", "netns", "exec", name, "env", "GLOO_SOCKET_IFNAME=cable"]
            nodes = ["--nnodes=2", "--nproc-per-node=1", f"--max-restarts={restarts}"]
            command = torchrun(*nodes, *self.meeting(meeting, number), folder=folder, words=words)
            training.start([*where, *command], folder / f"{len(self.trainings)}-{number}.log")
        return training

    def meeting(self, kind, number):
        """Return the options by which torchrun on that host finds the other one."""
        if kind == "fixed host":
            return [f"--node-rank={number}", f"--master-addr={self.addresses[0]}", "--master-port=29500"]
        return [
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={self.addresses[0]}:29400",
            f"--rdzv-id={len(self.trainings)}",
            f"--local-addr={self.addresses[number]}",
            f"--rdzv-conf=is_host={1 - number}",  # both have the same name, by which it would tell
        ]

    def end(self):
        """Kill all that runs on them."""
        for name in self.names:
            while found := self.processes_on(name):
                for process in found:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        for training in self.trainings:
            training.statuses()

    @staticmethod
    def ip(*words):
        """Run the command `ip` of Linux."""
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def torchrun(*options, folder, words=()):
    """Return the command that has torchrun start `blitz train --out FOLDER/out`."""
    worker = ["-m", "spec.blitz.worker", f"--patience={PATIENCE}", f"--out={folder / 'out'}", *words]
    return [sys.executable, "-m", "torch.distributed.run", *options, *worker]


def environment():
    """Return the environment of every torchrun, which would warn if it had to choose the threads."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@contextmanager
def two_hosts():
    """Have two hosts; where this machine lets no one make them, the test is not checked."""
    if not shutil.which("ip"):
        not_checked("no-namespaces")
    hosts = Hosts()
    try:
        try:
            hosts.build()
        except subprocess.CalledProcessError as error:
            not_checked("no-namespaces", f"{REASONS['no-namespaces']}: {error.stderr.strip()}")
        hosts.configure()
        yield hosts
    finally:
        hosts.remove()
