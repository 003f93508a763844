"""The upper-body model, two tokenizers in one and a transformer of the upper half: golden numbers and properties."""

import pytest
import torch

from dataset.spec import BANDAI, KIT, T2M
from models.encdec import ConvConfig
from models.ids import make_rows, mask_id, pad_id, token_count
from models.sampling import sample
from models.transformer import TransformerConfig, load_transformer
from models.vqvae import VQVAE, VQConfig, load_vqvae
from utils.checkpoint import load_checkpoint, save_checkpoint

FRAMES = (40, 196)
CODES = 48
LENGTHS = (64, 37, 40, 9)  # frames; two of them fill their last token only in part


@pytest.fixture(scope="module")
def vq_file(shared):
    return shared / "golden/A/sep_vq_net_last.pth"


@pytest.fixture(scope="module")
def trans_file(shared):
    return shared / "golden/A/sep_trans_net_last.pth"


@pytest.fixture(scope="module")
def tokenizer(golden, vq_file):
    return load_vqvae(vq_file, mean=golden["sep.mean"], std=golden["sep.std"])


@pytest.fixture(scope="module")
def logits_fn(golden, trans_file):
    """Logits of upper ids given the golden text and lower ids."""
    model, lower = load_transformer(trans_file), golden["sep.lower_ids"]

    def logits(upper, lower=lower, rows=slice(None)):
        ids = torch.stack((upper, lower[rows]), dim=-1)
        return model(ids, golden["trans.text_sentence"][rows], golden["trans.text_words"][rows])

    return logits


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def halves(spec, seed=0, **sizes):
    """A small tokenizer of two parts with random codes and statistics."""
    torch.manual_seed(seed)
    sizes = {"dim": spec.dim, "codes": 24, "code_dim": 8, "conv": ConvConfig(width=16, depth=1)} | sizes
    model = VQVAE(VQConfig(**sizes, lower_features=spec.lower_features, upper_heights=spec.upper_heights))
    model.set_statistics(normal(spec.dim, seed=2), normal(spec.dim, seed=3).exp())
    model.mean_upper.copy_(normal(len(spec.upper_heights), seed=4))
    model.std_upper.copy_(normal(len(spec.upper_heights), seed=5).exp())
    for z, quantizer in zip(model.latents(normal(1, 200, spec.dim, seed=1))[0], model.quantizers()):
        quantizer.codebook.copy_(z[0, :24].detach())  # codes that encoding does pick
    return model.eval()


def rewritten(path, target, change):
    content = load_checkpoint(path)
    change(content)
    save_checkpoint(target, content)
    return target


def close(a, b, tolerance=1e-4):
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def same_motion(a, b):
    """To rounding of the largest numbers in it: features of the golden model run to hundreds."""
    return a.shape == b.shape and (a - b).abs().max() < 1e-5 * b.abs().max()


# --- Golden


@pytest.mark.parametrize("frames", FRAMES)
@torch.no_grad()
def test_golden_tokens(golden, tokenizer, frames):
    ids = tokenizer.encode(golden[f"sep.motion.{frames}"])
    assert torch.equal(ids, golden[f"sep.ids.{frames}"])
    assert same_motion(tokenizer.decode(ids), golden[f"sep.decoded.{frames}"])


@torch.no_grad()
def test_golden_in_one_padded_batch(golden, tokenizer):
    motion = torch.full((len(FRAMES), max(FRAMES), 263), 7.0)
    for row, frames in zip(motion, FRAMES):
        row[:frames] = golden[f"sep.motion.{frames}"][0]
    lengths = torch.tensor(FRAMES)
    ids = tokenizer.encode(motion, lengths)
    decoded = tokenizer.decode(ids, lengths)
    for i, frames in enumerate(FRAMES):
        assert torch.equal(ids[i, : frames // 4], golden[f"sep.ids.{frames}"][0])
        assert (ids[i, frames // 4 :] == pad_id(CODES)).all()
        assert same_motion(decoded[i, :frames], golden[f"sep.decoded.{frames}"][0])


@torch.no_grad()
def test_golden_logits(golden, logits_fn):
    assert close(logits_fn(golden["sep.upper_ids_in"]), golden["sep.logits"])


@torch.no_grad()
def test_golden_sample(golden, logits_fn):
    lengths = token_count(golden["trans.lengths_frames"])
    rows = make_rows(torch.full((4, 50), mask_id(CODES)), lengths, CODES, 50)
    found = sample(logits_fn, rows, lengths, CODES, steps=20, temperature=0)
    assert torch.equal(found, golden["sep.sample_upper_greedy"])
    assert not torch.equal(sample(logits_fn, rows, lengths, CODES, steps=10, temperature=0), found), "a control"


@torch.no_grad()
def test_a_row_sampled_alone_is_the_same(golden, logits_fn):
    """Row 2 is short: alone, its rows of ids end where it ends."""
    length, rows = token_count(golden["trans.lengths_frames"])[2:3], slice(2, 3)
    alone = make_rows(torch.full((1, 50), mask_id(CODES)), length, CODES, int(length) + 1)
    lower = golden["sep.lower_ids"][:, : alone.shape[1]]
    found = sample(lambda upper: logits_fn(upper, lower, rows), alone, length, CODES, steps=20, temperature=0)
    assert torch.equal(found, golden["sep.sample_upper_greedy"][rows, : alone.shape[1]])


def test_sizes_are_read_off_the_files(tokenizer, trans_file):
    assert tokenizer.config == VQConfig(
        dim=263, codes=CODES, code_dim=16, conv=ConvConfig(width=32), lower_features=T2M.lower_features,
        upper_heights=T2M.upper_heights,
    )  # fmt: skip
    assert tokenizer.config.parts == ("upper", "lower")
    assert load_transformer(trans_file).config == TransformerConfig(
        codes=CODES, code_dim=16, text_dim=24, width=64, heads=4, layers=4, local_layers=2, parts=2, mask_words=False
    )


def test_codes_of_the_transformer_are_the_tokenizers(tokenizer, trans_file):
    assert torch.equal(load_transformer(trans_file).codebooks, tokenizer.codebooks())
    assert tokenizer.codebooks().shape == (2, CODES, 8)


@torch.no_grad()
def test_any_lower_id_may_be_unknown_and_each_counts(golden, logits_fn):
    """Masking one lower id changes what is said of the upper body; the upper ids and lower ids are not mixed up."""
    upper, lower = golden["sep.upper_ids_in"], golden["sep.lower_ids"]
    known = logits_fn(upper)
    masked = lower.clone()
    masked[:, 3] = mask_id(CODES)
    unknown = logits_fn(upper, masked)
    assert unknown.isfinite().all() and (unknown - known).abs().amax(dim=-1)[:, :5].min() > 1e-4
    other = lower.clone()
    other[:, 3] = (other[:, 3] + 1) % CODES
    assert (logits_fn(upper, other) - known).abs().max() > 1e-3


# --- Halves of the features


@pytest.mark.parametrize(
    "spec, lower, upper, heights", [(T2M, 107, 156, 13), (BANDAI, 107, 156, 13), (KIT, 131, 120, 10)]
)
@torch.no_grad()
def test_widths(spec, lower, upper, heights):
    assert len(set(spec.lower_features)) == lower and spec.dim - lower == upper
    assert len(spec.upper_heights) == heights and not {*spec.upper_heights} & {*spec.lower_features}
    model = halves(spec)
    assert [part.shape for part in model.split(normal(2, 8, spec.dim))] == [(2, 8, upper), (2, 8, lower)]
    ids = model.encode(normal(2, 8, spec.dim))
    assert ids.shape == (2, 2, 2) and model.decode(ids).shape == (2, 8, spec.dim)
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes["encoder_upper.model.0.weight"] == [16, upper, 3]
    assert shapes["encoder_lower.model.0.weight"] == [16, lower, 3]
    assert shapes["quantizer_upper.codebook"] == shapes["quantizer_lower.codebook"] == [24, 4]


@pytest.mark.parametrize("spec, joints", [(T2M, [0, 1, 2, 4, 5, 7, 8, 10, 11]), (KIT, [0, *range(11, 21)])])
def test_which_features_are_the_lower_bodys(spec, joints):
    """Every feature by the name of its joint, laid out one after another (spec/data.md 2)."""
    owners = [0] * 4
    owners += [joint for joint in range(1, spec.joints) for _ in range(3)]
    owners += [joint for joint in range(1, spec.joints) for _ in range(6)]
    owners += [joint for joint in range(spec.joints) for _ in range(3)]
    owners += [0] * 4  # contacts
    assert sorted(spec.lower_features) == [i for i, joint in enumerate(owners) if joint in joints]


@pytest.mark.parametrize("spec", [T2M, KIT])
@torch.no_grad()
def test_join_is_the_opposite_of_split(spec):
    model, motion = halves(spec), normal(3, 8, spec.dim, seed=7)
    assert close(model.join(model.split(motion)), motion, 1e-5)
    parts = [normal(3, 8, part.shape[-1], seed=8) for part in model.split(motion)]
    for part, again in zip(parts, model.split(model.join(parts))):
        assert close(again, part, 1e-4)


@torch.no_grad()
def test_join_is_the_opposite_of_split_of_the_golden_model(golden, tokenizer):
    motion = golden["sep.motion.40"]
    assert close(tokenizer.join(tokenizer.split(motion)), motion, 1e-5)


@pytest.mark.parametrize("spec", [T2M, KIT])
@torch.no_grad()
def test_heights_of_upper_joints_count_from_the_root(spec):
    model = halves(spec)
    motion = normal(1, 4, spec.dim, seed=9)
    metric = (motion * model.std + model.mean)[0]
    upper, lower = model.split(motion)
    assert torch.equal(lower, motion[..., list(spec.lower_features)]), "the lower half is as it was"
    columns = [i for i in range(spec.dim) if i not in spec.lower_features]
    names = list(spec.upper_heights)
    for place, column in enumerate(columns):
        expected = motion[0, :, column]
        if column in names:
            i = names.index(column)
            expected = (metric[:, column] - metric[:, 3] - model.mean_upper[i]) / model.std_upper[i]
        assert close(upper[0, :, place], expected, 1e-5)
    joints = {(column - 4) // 3 + 1 for column in names}
    assert joints == set(range(spec.joints)) - set(spec.lower_joints) and {(column - 4) % 3 for column in names} == {1}
    raised = motion.clone()
    raised[..., 3] += 1 / model.std[3]  # the root and all of the upper body, by one metre
    raised[..., names] += 1 / model.std[names]
    assert close(model.split(raised)[0], upper, 1e-4)


@pytest.mark.parametrize("spec", [T2M, KIT])
@torch.no_grad()
def test_a_padded_batch_is_its_rows_alone(spec):
    model = halves(spec)
    motion = normal(len(LENGTHS), max(LENGTHS), spec.dim, seed=4)
    rows = [motion[i : i + 1, :frames].clone() for i, frames in enumerate(LENGTHS)]
    for row, frames in zip(motion, LENGTHS):
        row[frames:] = 1e3
    lengths = torch.tensor(LENGTHS)
    ids = model.encode(motion, lengths)
    decoded = model.decode(ids, lengths)
    for i, (row, frames) in enumerate(zip(rows, LENGTHS)):
        tokens = -(-frames // 4)
        alone = model.encode(row)
        assert alone.shape == (1, tokens, 2) and (frames < 10 or (alone[..., 0] != alone[..., 1]).any())
        assert torch.equal(ids[i, :tokens], alone[0]) and (ids[i, tokens:] == pad_id(24)).all()
        assert same_motion(decoded[i, :frames], model.decode(alone)[0, :frames])
        assert (decoded[i, frames:] == 0).all()


@torch.no_grad()
def test_each_half_has_ids_of_its_own():
    """Another lower body leaves the upper ids, and another upper body the lower ones."""
    model, motion = halves(T2M), normal(2, 40, 263, seed=5)
    ids = model.encode(motion)
    lower = list(T2M.lower_features)
    for columns, same, changed in (
        ([i for i in range(263) if i not in lower], 1, 0),
        ([i for i in lower if i != 3], 0, 1),  # but for the root's height, from which the upper joints count
    ):
        other = motion.clone()
        other[..., columns] = normal(2, 40, len(columns), seed=6)
        found = model.encode(other)
        assert torch.equal(found[..., same], ids[..., same]) and not torch.equal(found[..., changed], ids[..., changed])


# --- What is missing


@pytest.mark.parametrize(
    "name",
    [
        "encoder_upper.model.0.weight", "encoder_lower.model.3.1.model.2.conv1.weight", "decoder_lower.model.0.bias",
        "decoder_upper.model.6.weight", "quantizer_upper.codebook", "quantizer_lower.codebook", "mean_upper",
        "std_upper",
    ],
)  # fmt: skip
def test_a_missing_tensor_of_the_tokenizer_is_named(tmp_path, vq_file, name):
    path = rewritten(vq_file, tmp_path / "vq.pth", lambda content: content["net"].pop(name))
    with pytest.raises(ValueError, match=rf"vq\.pth.*{name}"):
        load_vqvae(path)


@pytest.mark.parametrize(
    "name",
    [
        "trans_base.learn_tok_emb.weight", "trans_base.cross_att.1.ln3.bias", "trans_base.blocks.1.attn.key.weight",
        "trans_head.head.weight", "trans_base.vqvae.vqvae.quantizer_upper.codebook",
        "trans_base.vqvae.vqvae.quantizer_lower.codebook",
    ],
)  # fmt: skip
def test_a_missing_tensor_of_the_transformer_is_named(tmp_path, trans_file, name):
    path = rewritten(trans_file, tmp_path / "trans.pth", lambda content: content["trans"].pop(name))
    with pytest.raises(
        ValueError, match=rf"trans\.pth.*{name.removeprefix('trans_base.').removeprefix('trans_head.')}"
    ):
        load_transformer(path)


def test_a_tensor_of_another_shape_or_too_many_is_named(tmp_path, vq_file, trans_file):
    def spoil(tensors, name):
        tensors[name] = torch.zeros(5)
        tensors[f"{name}_again"] = torch.zeros(5)

    vq = rewritten(vq_file, tmp_path / "vq.pth", lambda content: spoil(content["net"], "mean_upper"))
    with pytest.raises(ValueError, match=r"unexpected mean_upper_again.*mean_upper is \[5\], not \[13\]"):
        load_vqvae(vq)
    trans = rewritten(
        trans_file, tmp_path / "t.pth", lambda content: spoil(content["trans"], "trans_base.learn_tok_emb.weight")
    )
    with pytest.raises(ValueError, match=r"learn_tok_emb\.weight_again.*learn_tok_emb\.weight is \[5\], not \[3, 8\]"):
        load_transformer(trans)
