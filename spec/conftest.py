"""Fixtures that several sections use."""

import pytest
import torch


@pytest.fixture
def repeated_warnings():
    """Have PyTorch repeat the warnings that it gives only once in a process."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)
