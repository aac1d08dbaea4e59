"""`blitz train` as the tests have torchrun start it: `torchrun ... -m spec.blitz.worker WORDS`.

It saves every 20 mini-batches, and draws nothing. What is no option of its own is one of `blitz train`.
"""

import argparse
import os
import signal
import time
from datetime import timedelta

from blitz.commands import train as command
from blitz.training import distributed
from blitz.training.fit import Training
from blitz.training.recipes import RECIPES
from spec.command_line import main


def disturb(die, slow):
    """Have each mini-batch take `slow` seconds longer; in rank and mini-batch `die` the process kills itself.

    It does so in its first life.
    """
    real = Training._learn
    doomed = die and (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == (str(die[0]), "0")

    def learn(training, *batch):
        time.sleep(slow)
        if doomed and training.step == die[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        real(training, *batch)

    Training._learn = learn


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--die", nargs=2, type=int, metavar=("RANK", "STEP"))
    parser.add_argument("--patience", type=float, default=60, help="seconds that a process waits for another")
    parser.add_argument("--slow", type=float, default=0, help="seconds that each mini-batch takes longer")
    arguments, words = parser.parse_known_args()
    disturb(arguments.die, arguments.slow)
    distributed.TIMEOUT = timedelta(seconds=arguments.patience)
    # 158 mini-batches of the stand-in, in two epochs
    RECIPES["fast"] = RECIPES["fast"]._replace(batch_size=64, epochs=2, report_every=20)
    command._draw = lambda *outcome: None
    raise SystemExit(main(["train", "--recipe=fast", "--data=stand-in", "--device=cpu", *words]))
