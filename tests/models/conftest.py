"""What the tests of the models share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are several times faster on one thread, above all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
