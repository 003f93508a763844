"""The masked transformer: golden logits, who may influence whom, and its checkpoints."""

import math
from dataclasses import replace

import pytest
import torch

from models.ids import end_id, length_mask, make_rows, mask_id, pad_id
from models.transformer import (
    MaskedTransformer,
    TransformerConfig,
    attend,
    load_stage2,
    load_transformer,
    sinusoids,
    transformer_checkpoint,
)
from utils.checkpoint import halved, load_checkpoint, save_checkpoint

CONFIG = TransformerConfig(
    codes=12, code_dim=8, text_dim=10, width=32, heads=4, layers=3, local_layers=2, ff_rate=2, row_length=20
)
LENGTHS = torch.tensor([15, 1, 7, 19])
WORDS = torch.tensor([9, 2, 5, 1])  # of 9


@pytest.fixture
def published(shared):
    return shared / "golden/A/trans_net_last.pth"


def tiny(**changes):
    """A small transformer with weights large enough for every path to show in the logits."""
    config = replace(CONFIG, **changes)
    torch.manual_seed(0)
    model = MaskedTransformer(config, torch.randn(config.codes, config.code_dim))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if name.endswith("weight") and parameter.dim() == 1 else 0.0, 0.25)
    return model.eval()


def batch(seed=0):
    """ids [4, 20], sentence [4, 10], words [4, 9, 10]; some of the motion ids are MASK."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(CONFIG.codes, (4, 20), generator=generator)
    ids[torch.rand(ids.shape, generator=generator) < 0.4] = mask_id(CONFIG.codes)
    rows = make_rows(ids, LENGTHS, CONFIG.codes, CONFIG.row_length)
    return rows, torch.randn(4, 10, generator=generator), torch.randn(4, 9, 10, generator=generator)


def close(a, b):
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-4, rtol=1e-4)


def apart(a, b):
    """Clearly different: the control of each test that says two things are the same."""
    return (a - b).abs().max() > 0.05


@torch.no_grad()
def test_golden_logits(golden, published):
    text = golden["trans.text_sentence"], golden["trans.text_words"]
    model = load_transformer(published)
    logits = model(golden["trans.ids_in"], *text, golden["trans.attend"])
    assert (logits - golden["trans.logits"]).abs().max() < 1e-4
    assert (model(golden["trans.ids_in"], *text) - golden["trans.logits"]).abs().max() < 1e-4  # PAD found by itself


@torch.no_grad()
def test_padding_has_no_influence():
    model, (ids, *text) = tiny(), batch()
    visible = length_mask(LENGTHS + 1, 20)
    logits = model(ids, *text)
    assert close(model(ids, *text, visible)[visible], logits[visible])
    garbage = torch.where(visible, ids, torch.randint(CONFIG.codes, ids.shape))
    assert close(model(garbage, *text, visible)[visible], logits[visible])
    assert apart(model(garbage, *text, torch.ones_like(visible))[visible], logits[visible])


@torch.no_grad()
def test_trimming_padding_changes_nothing():
    model, (ids, *text) = tiny(), batch()
    logits = model(ids, *text)
    for i, length in enumerate(LENGTHS.tolist()):
        trimmed = model(ids[i : i + 1, : length + 1], *(part[i : i + 1] for part in text))
        assert close(trimmed[0], logits[i, : length + 1])


@torch.no_grad()
def test_end_is_visible():
    model, (ids, *text) = tiny(), batch()
    without = ids.masked_fill(ids == end_id(CONFIG.codes), pad_id(CONFIG.codes))
    motion = length_mask(LENGTHS, 20)
    for row in range(4):
        assert apart(model(without, *text)[row][motion[row]], model(ids, *text)[row][motion[row]])


@torch.no_grad()
def test_a_batch_is_its_rows():
    model, inputs = tiny(), batch()
    word_mask = length_mask(WORDS, 9)
    logits = model(*inputs, word_mask=word_mask)
    for i in range(4):
        alone = model(*(part[i : i + 1] for part in inputs), word_mask=word_mask[i : i + 1])
        assert close(alone[0], logits[i])


@pytest.mark.parametrize("mask_words", [True, False])
@torch.no_grad()
def test_masked_words_are_truncated_words_only_if_the_config_says_so(mask_words):
    model, (ids, sentence, words) = tiny(mask_words=mask_words), batch()
    logits = model(ids, sentence, words, word_mask=length_mask(WORDS, 9))
    for i, count in enumerate(WORDS.tolist()):
        truncated = model(ids[i : i + 1], sentence[i : i + 1], words[i : i + 1, :count])[0]
        if mask_words or count == 9:
            assert close(logits[i], truncated)
        else:
            assert apart(logits[i], truncated)
    assert mask_words or close(logits, model(ids, sentence, words))


@torch.no_grad()
def test_sentence_and_words_reach_every_position():
    model, (ids, sentence, words) = tiny(), batch()
    logits = model(ids, sentence, words)
    for other in (model(ids, sentence + 1, words), model(ids, sentence, words + torch.randn(10))):
        assert ((other - logits).abs().amax(dim=-1) > 1e-3).all()
    wordless = tiny(local_layers=0)
    assert torch.equal(wordless(ids, sentence, words), wordless(ids, sentence, words + torch.randn(10)))


@torch.no_grad()
def test_motion_ids_see_both_ways():
    model, (ids, *text) = tiny(), batch()
    for changed in (0, 14):
        other = ids.clone()
        other[0, changed] = (ids[0, changed] + 1) % CONFIG.codes
        difference = (model(other, *text) - model(ids, *text))[0].abs().amax(dim=-1)
        assert (difference[:16] > 1e-3).all()


@pytest.mark.parametrize("local_layers", [0, 2])
def test_a_row_longer_than_the_models_is_refused(local_layers):
    model, (ids, *text) = tiny(local_layers=local_layers), batch()
    assert model(ids, *text).shape == (4, 20, 12)
    with pytest.raises(ValueError, match="20"):
        model(torch.cat((ids, ids[:, -1:]), dim=1), *text)


@torch.no_grad()
def test_embedding_of_codes_and_special_ids():
    model = tiny()
    codes = model.embed(torch.arange(15)[None, :, None])[0]
    assert close(codes[:12], model.to_emb(model.codebooks[0]))
    special = torch.tensor([end_id(12), pad_id(12), mask_id(12)])
    assert close(codes[special], model.to_emb(model.learn_tok_emb.weight))


def test_the_codebook_is_frozen_and_all_else_learns():
    model, inputs = tiny(), batch()
    assert "codebooks" not in dict(model.named_parameters()) and "codebooks" in model.state_dict()
    model(*inputs).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert model.codebooks.grad is None


def test_dropout_works_in_training_only():
    model, inputs = tiny(dropout=0.3), batch()
    with torch.no_grad():
        assert torch.equal(model(*inputs), model(*inputs))
        model.train()
        assert apart(model(*inputs), model(*inputs))


def test_layers_of_each_stack():
    model = tiny(layers=5, local_layers=3)
    assert (len(model.cross_att), len(model.blocks)) == (3, (5 - 3) + 5)


def test_initial_weights_have_the_published_spread():
    model = MaskedTransformer(replace(CONFIG, width=128))
    for name, value in model.named_parameters():
        if value.dim() == 2 and value.numel() > 1000:
            assert value.std().item() == pytest.approx(0.02, rel=0.1), name


def test_default_size_is_the_published_one():
    with torch.device("meta"):
        model = MaskedTransformer(TransformerConfig())
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 236


def test_sinusoids_of_a_plain_loop():
    table = sinusoids(51, 64)
    for position in range(51):
        for channel in range(64):
            wave = math.sin if channel % 2 == 0 else math.cos
            expected = wave(position * 10000 ** (-(channel - channel % 2) / 64))
            assert table[position, channel].item() == pytest.approx(expected, abs=1e-5)


def test_sinusoids_of_the_published_file(published):
    table = load_checkpoint(published)["trans"]["trans_base.pos_embed.embed"]
    assert torch.allclose(sinusoids(51, 64), table[:, 0], atol=1e-5)


@pytest.mark.parametrize("changes", [{}, dict(mask_words=False, local_layers=0, heads=2, dropout=0.2, ff_rate=3)])
@torch.no_grad()
def test_our_checkpoint_rebuilds_the_model(tmp_path, changes):
    model, inputs = tiny(**changes), batch()
    text = {"kind": "toy", "sizes": [1, 2]}
    save_checkpoint(tmp_path / "trans.pth", transformer_checkpoint(model, text, "kit"))
    loaded = load_stage2(tmp_path / "trans.pth")
    assert loaded.model.config == model.config and not loaded.model.training
    assert (loaded.text, loaded.dataset) == (text, "kit")
    assert torch.equal(loaded.model(*inputs), model(*inputs))
    assert torch.equal(load_transformer(tmp_path / "trans.pth")(*inputs), model(*inputs))


@torch.no_grad()
def test_our_checkpoint_in_half_precision(tmp_path):
    model, inputs = tiny(), batch()
    content = transformer_checkpoint(model, {}, "t2m")
    save_checkpoint(tmp_path / "half.pth", {**content, "trans": halved(content["trans"])})
    loaded = load_transformer(tmp_path / "half.pth")
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, model.state_dict()[name].half().float())
    logits = model(*inputs)
    assert (loaded(*inputs) - logits).abs().max() < 0.02 * logits.abs().max()


def test_published_sizes_are_read_off_the_file(published):
    stage2 = load_stage2(published)
    assert stage2.model.config == TransformerConfig(
        codes=48, code_dim=16, text_dim=24, width=64, heads=4, layers=4, local_layers=2, ff_rate=4, row_length=50,
        mask_words=False,
    )  # fmt: skip
    assert stage2.text is None and stage2.dataset is None and not stage2.model.training


def test_a_stage_1_file_is_refused(shared):
    with pytest.raises(ValueError, match=r"vq_net_last\.pth.*stage-2"):
        load_transformer(shared / "golden/A/vq_net_last.pth")


@pytest.mark.parametrize("name", ["to_emb.bias", "cond_emb.weight", "blocks.1.attn.query.weight"])
def test_a_missing_tensor_is_named(tmp_path, published, name):
    content = load_checkpoint(published)
    del content["trans"][f"trans_base.{name}"]
    save_checkpoint(tmp_path / "trans.pth", content)
    with pytest.raises(ValueError, match=name):
        load_transformer(tmp_path / "trans.pth")


def test_a_tensor_of_another_shape_is_named(tmp_path):
    content = transformer_checkpoint(tiny(), {}, "t2m")
    content["trans"]["head.weight"] = torch.zeros(12, 31)
    save_checkpoint(tmp_path / "trans.pth", content)
    with pytest.raises(ValueError, match=r"head\.weight.*\[12, 31\].*\[12, 32\]"):
        load_transformer(tmp_path / "trans.pth")


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_attention_in_bfloat16_is_that_of_float32(masked):
    """On a CPU by products of its own; a row's result does not depend on the other rows, nor on hidden keys."""
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(3, 4, n, 16, generator=generator).bfloat16() for n in (5, 9, 9))
    visible = length_mask(torch.tensor([9, 1, 6]), 9) if masked else None
    found = attend(query, keys, values, visible)
    exact = attend(query.double(), keys.double(), values.double(), visible)
    assert found.dtype == torch.bfloat16 and (found - exact).abs().max() < 0.02
    if masked:
        garbage = torch.where(visible[:, None, :, None], keys, 7.0)
        assert torch.equal(attend(query, garbage, values, visible), found)
    for row in range(3):
        one = slice(row, row + 1)
        assert torch.equal(attend(query[one], keys[one], values[one], visible[one] if masked else None), found[one])
