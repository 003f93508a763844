"""CUDA graphs give what the features give. Without a GPU: they are left alone."""

import pytest
import torch

from models.replay import EAGER_CALLS, Replayed
from tests.tiny import tiny_text_encoder, tiny_transformer, tiny_vq

TEXTS = ["a person walks", "someone waves with the left hand"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here: graphs are not tried")
@torch.no_grad()
def test_a_graph_gives_what_the_features_give():
    model, text = tiny_transformer(tiny_vq()).cuda(), tiny_text_encoder().cuda()(TEXTS)
    condition = model.condition(*text)
    replayed = Replayed(model.features)
    generator = torch.Generator().manual_seed(0)
    for visible in (None, torch.arange(8, device="cuda") < torch.tensor([[8], [5]], device="cuda")):
        for _ in range(EAGER_CALLS + 3):
            ids = torch.randint(16, (2, 8), generator=generator).cuda()
            assert torch.allclose(
                replayed(ids, condition, visible), model.features(ids, condition, visible), atol=1e-4
            )  # fmt: skip
    assert len(replayed.graphs) == 2


def test_what_comes_seldom_is_not_captured():
    replayed = Replayed(lambda ids, more: ids + 1)
    for size in (2, 3):
        for _ in range(EAGER_CALLS):
            assert torch.equal(replayed(torch.zeros(size), (None,)), torch.ones(size))
    assert not replayed.graphs and len(replayed.calls) == 2
