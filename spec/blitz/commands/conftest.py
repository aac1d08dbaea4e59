"""What the tests of several commands share."""

import pytest
import torch

from blitz.training.nets import CifarNet


@pytest.fixture
def net():
    """A net of which some scores differ from image to image."""
    torch.manual_seed(0)
    net = CifarNet()
    net.fc3.weight.data *= 20
    return net
