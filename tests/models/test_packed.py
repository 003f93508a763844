"""Packed layers: the same numbers, whatever the number of rows, on the golden weights too."""

import pytest
import torch
from torch import nn

from models.ids import make_rows, mask_id, token_count
from models.packed import PackedBlock, PackedLinear, pack
from models.sampling import sample
from models.transformer import Block, load_transformer
from tests.tiny import tiny_text_encoder, tiny_transformer, tiny_vq


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (1, 24), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_layer(shape, bias):
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 40, bias=bias), torch.randn(shape)
    packed = PackedLinear(layer, torch.float32)
    assert torch.allclose(packed(x), layer(x), atol=1e-5)
    activated = PackedLinear(layer, torch.float32, gelu=True)
    assert torch.allclose(activated(x), nn.functional.gelu(layer(x)), atol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_layers_side_by_side_and_a_sum(dtype, tolerance):
    torch.manual_seed(0)
    layers, x, plus = [nn.Linear(24, 8), nn.Linear(24, 16)], torch.randn(2, 5, 24), torch.randn(2, 5, 24).to(dtype)
    found = PackedLinear(layers, dtype)(x, plus=plus)
    wanted = torch.cat([layer(x) for layer in layers], dim=-1) + plus.float()
    assert found.dtype == dtype and torch.allclose(found.float(), wanted, atol=tolerance)


def test_a_block_keeps_its_activations_in_the_weights_precision():
    torch.manual_seed(0)
    block, x = Block(32, 4, 2, 0.0, cross=True).eval(), torch.randn(3, 7, 32)
    words, mask = torch.randn(3, 5, 32), torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [True] * 5])
    wanted = block(x, mask, block.read(words))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        packed = PackedBlock(block, dtype)
        found = packed(x, mask, packed.read(words))
        assert found.dtype == dtype and torch.allclose(found.float(), wanted, atol=tolerance)


def test_in_bfloat16_only_inputs_weights_and_results_are_rounded():
    """Sums are not: the result is that of the rounded numbers, rounded once."""
    torch.manual_seed(0)
    layer, x = nn.Linear(512, 40), torch.randn(9, 512)
    found = PackedLinear(layer, torch.bfloat16)(x)
    exact = nn.functional.linear(*(y.bfloat16().double() for y in (x, layer.weight, layer.bias)))
    assert found.dtype == torch.bfloat16
    assert ((found - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_do_not_depend_on_how_many_there_are(dtype):
    torch.manual_seed(0)
    packed, x = PackedLinear(nn.Linear(256, 300), dtype), torch.randn(96, 256)
    together = packed(x)
    for rows in (1, 2, 17, 41, 95):
        assert torch.equal(packed(x[:rows]), together[:rows])


def test_all_linear_layers_are_replaced_and_nothing_else():
    model = pack(tiny_transformer(tiny_vq()), "bf16")
    assert not any(isinstance(module, nn.Linear | nn.GELU) for module in model.modules())
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    lone = pack(nn.Sequential(nn.GELU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.GELU("tanh")), "32")
    assert [type(layer).__name__ for layer in lone] == ["GELU", "PackedLinear", "ReLU", "PackedLinear", "GELU"]


@pytest.mark.parametrize("precision, tolerance", [("32", 1e-4), ("bf16", 0.1)])
def test_networks_give_what_they_gave(precision, tolerance):
    ids = torch.randint(16, (3, 12), generator=torch.Generator().manual_seed(0))
    texts = ["a person walks", "", "someone waves with the left hand"]
    text = tiny_text_encoder()(texts)
    found = pack(tiny_text_encoder(), precision)(texts)
    assert all(torch.allclose(a, b, atol=tolerance) for a, b in zip(found[:2], text[:2]))
    wanted = tiny_transformer(tiny_vq())(ids, text.sentence, text.words, word_mask=text.mask)
    packed = pack(tiny_transformer(tiny_vq()), precision)
    logits = packed(ids, text.sentence, text.words, word_mask=text.mask)
    assert torch.allclose(logits.float(), wanted, atol=tolerance * wanted.abs().max())


def test_golden_logits_and_samples(golden, shared):
    model = pack(load_transformer(shared / "golden/A/trans_net_last.pth"), "32")
    text = golden["trans.text_sentence"], golden["trans.text_words"]
    assert (model(golden["trans.ids_in"], *text) - golden["trans.logits"]).abs().max() < 1e-4
    lengths = token_count(golden["trans.lengths_frames"])
    given = make_rows(torch.full((4, 50), mask_id(48)), lengths, 48, 50)
    ids = sample(lambda ids: model(ids, *text), given, lengths, 48, temperature=0)
    assert torch.equal(ids, golden["trans.sample_greedy"])
