"""The accelerator without hardware is a device of its own kind to PyTorch, or what it runs means little."""

import json

import pytest

from spec.harness.tests.accelerator.test_lies import run

ASKED = """
import json, torch
from torch import nn

def refusal(do):
    try:
        do()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

one, two = torch.ones(3, device="fake:0"), torch.ones(3, device="fake:1")
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2)).to("fake")
images, labels = torch.rand(4, 1, 8, 8, device="fake"), torch.tensor([0, 1, 1, 0], device="fake")
optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.1), []
for _ in range(5):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(images), labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(json.dumps({
    "devices": [torch.accelerator.device_count(), str(one.device), str(two.device), str(loss.device)],
    "with the CPU": refusal(lambda: one + torch.ones(3)),
    "with another": refusal(lambda: one + two),
    "numpy": refusal(one.numpy),
    "copied": (one.to("fake:1") + two).tolist(),
    "losses": losses,
    "batches seen": net[1].num_batches_tracked.item(),
}))
"""


@pytest.fixture(scope="module")
def seen():
    """What a process sees that has two of them; in this one it could not be taken back."""
    done = run("-c", ASKED, FAKE_ACCELERATORS="2")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow  # compiles, if it is not in the cache
class TestFakeAccelerator:
    """What PyTorch makes of it."""

    def test_pytorch_loads_it_as_an_accelerator(self, seen):
        """With its folder on PYTHONPATH there are as many devices as are asked for."""
        assert seen["devices"] == [2, "fake:0", "fake:1", "fake:0"]

    def test_its_tensors_are_kept_apart_from_others(self, seen):
        """Tensors of the CPU, or of another of its devices, are refused, and so is NumPy."""
        for mixed in ("with the CPU", "with another"):
            assert "Expected all tensors to be on the same device" in seen[mixed]
        assert seen["numpy"].startswith("TypeError: can't convert fake:0 device type tensor to numpy")
        assert seen["copied"] == [2, 2, 2]

    def test_a_net_trains_on_it(self, seen):
        """Five steps lower the loss at each, and batch norm counts the batches."""
        assert seen["losses"] == sorted(seen["losses"], reverse=True)
        assert seen["losses"][-1] < seen["losses"][0]
        assert seen["batches seen"] == 5


@pytest.mark.slow
def test_without_a_compiler_it_says_so_in_a_sentence(tmp_path):
    """A machine that cannot compile it is told what to do."""
    done = run("-c", "import torch", CXX="no-such-compiler", BLITZ_CACHE=str(tmp_path))

    assert done.returncode != 0
    assert "the fake accelerator needs a C++20 compiler, no-such-compiler is none" in done.stderr
    assert "take spec/fake_accelerator off PYTHONPATH" in done.stderr
