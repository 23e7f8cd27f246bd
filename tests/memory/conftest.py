"""What tests of the memory room share."""

import pytest
import torch

from lora_lab import quant


@pytest.fixture
def one_thread():
    """Kernels take workspace for each thread, and two test processes with two threads each wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def readable_path():
    """What is predicted; a CPU's kernels need less: they restore in slabs, or make no weight at all."""
    with quant.use_kernels(False):
        yield
