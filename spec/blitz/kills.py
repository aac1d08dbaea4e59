"""Kill trainings with SIGKILL, resume each, tell what became of it: `python -m spec.blitz.kills FOLDER`.

Importing torch takes seconds, and the first optimizer another one, so one process does both and forks every
training; it runs no backward pass itself, which a fork would not survive.
"""

import io
import json
import os
import random
import signal
import sys
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch import nn

from blitz.cifar10 import stand_in
from blitz.cifar10.data import Split
from blitz.commands import shared
from blitz.commands import train as command
from blitz.training import checkpoint
from blitz.training.fit import Training
from blitz.training.recipes import Recipe
from spec.command_line import main as blitz

RECIPE = Recipe("killed", batch_size=4, epochs=1, learning_rate=0.01, momentum=0.9, one_cycle=True)


def train(folder, report=lambda step: None):
    """Train to the end, from the checkpoint if there is one; save after each mini-batch, the weights last."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, 10))
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)  # three mini-batches
    training = Training(net, Split(images, torch.arange(12) % 10), RECIPE)
    path = folder / "checkpoint.pt"
    if path.exists():
        training.load_state_dict(checkpoint.load(path))
    for _ in training.steps():
        checkpoint.save(training.state_dict(), path)
        report(training.step)
    checkpoint.save_weights(net, folder / "cifar_net.pth")


def forked(work):
    """Run `work(report)` in a child; return its process id and the pipe that its reports come by."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child:
        os.close(sender)
        return child, receiver
    try:
        os.close(receiver)
        work(lambda step: os.write(sender, bytes([step])))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def outcome(child, receiver):
    """Return (exit status, or minus the signal that ended it; the last step it reported as saved)."""
    _, status = os.waitpid(child, 0)
    reports = os.read(receiver, 100)
    os.close(receiver)
    return os.waitstatus_to_exitcode(status), max(reports, default=0)


def die():
    """End as a power cut would: at once, without a handler or a flush."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(number, moment):
    """End right "after" the `number`-th call that touches the disk, or in it, with half a file "torn" off."""
    calls = 0

    def wrapped(call):
        def wrapper(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number and moment == "torn":
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                die()
            result = call(*arguments, **options)
            if calls == number:
                die()
            return result

        return wrapper

    for name in ("fsync", "replace", "link"):
        setattr(os, name, wrapped(getattr(os, name)))


def calls_of_a_training(folder):
    """Return the names of the calls that touch the disk, in order, as one training makes them."""
    names = []
    originals = {name: getattr(os, name) for name in ("fsync", "replace", "link")}
    for name, call in originals.items():

        def noted(*arguments, name=name, call=call):
            is_file = name == "fsync" and not os.path.isdir(f"/proc/self/fd/{arguments[0]}")
            names.append("write" if is_file else name)
            return call(*arguments)

        setattr(os, name, noted)
    train(folder)
    (folder / "calls.json").write_text(json.dumps(names))


def aftermath(folder, moment, status, reported, expected):
    """Look at what a kill left, resume, and return one row of the table."""
    path = folder / "checkpoint.pt"
    held = checkpoint.load(path)["step"] if path.exists() else 0
    before = checkpoint.previous(path)
    kept = checkpoint.load(before)["step"] if before.exists() else 0
    resumed, _ = outcome(*forked(lambda report: train(folder, report)))
    weights = folder / "cifar_net.pth"
    return {
        "moment": moment,
        "status": status,
        "reported": reported,
        "held": held,
        "kept": kept,
        "resumed": resumed,
        "same": weights.exists() and weights.read_bytes() == expected,
        "left over": [entry.name for entry in folder.iterdir() if entry.name.endswith(".tmp")],
    }


def command_line(folder, *words):
    """Run `blitz train` on half of a stand-in as the command line does, without its words and pictures."""
    shared.load = lambda source, **options: stand_in.draw(train=2_500, test=100)
    command._draw = lambda *arguments: None
    with redirect_stdout(io.StringIO()):
        status = blitz(
            ["train", "--recipe=fast", "--data=stand-in", "--device=cpu", f"--out={folder}", *words]
        )
    if status:
        raise SystemExit(status)


def kill_command_line(root):
    """Kill `blitz train` after its first save, go on with --resume, and compare with an undisturbed one."""
    whole, out = root / "whole", root / "out"
    child, receiver = forked(lambda report: command_line(out))
    deadline = time.monotonic() + 60
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    status, _ = outcome(child, receiver)
    children = [
        forked(lambda report: command_line(whole)),
        forked(lambda report: command_line(out, "--resume")),
    ]
    statuses = [outcome(*each)[0] for each in children]
    weights = [(folder / "cifar_net.pth").read_bytes() for folder in (whole, out)]
    return {"status": status, "resumed": statuses, "same": weights[0] == weights[1]}


def main(root):
    """Kill at every call that touches the disk, then from outside at random; print the rows as JSON."""
    torch.set_num_threads(1)
    torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    folders = (root / str(number) for number in range(10_000))
    (reference := next(folders)).mkdir()
    outcome(*forked(lambda report: calls_of_a_training(reference)))
    calls = json.loads((reference / "calls.json").read_text())
    expected = (reference / "cifar_net.pth").read_bytes()

    rows = []
    for number, call in enumerate(calls, start=1):
        for moment in ("torn", "after") if call == "write" else ("after",):
            (folder := next(folders)).mkdir()

            def killed(report, folder=folder, number=number, moment=moment):
                die_at(number, moment)
                train(folder, report)

            status, reported = outcome(*forked(killed))
            rows.append(aftermath(folder, f"{moment} {call} {number}", status, reported, expected))

    (folder := next(folders)).mkdir()
    started = time.perf_counter()
    outcome(*forked(lambda report: train(folder, report)))
    duration = time.perf_counter() - started
    chance = random.Random(0)
    for _ in range(10):
        (folder := next(folders)).mkdir()
        child, receiver = forked(lambda report, folder=folder: train(folder, report))
        delay = chance.uniform(0, duration)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        status, reported = outcome(child, receiver)
        rows.append(aftermath(folder, f"from outside at {delay / duration:.0%}", status, reported, expected))
    print(json.dumps({"trainings": rows, "command line": kill_command_line(root)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
