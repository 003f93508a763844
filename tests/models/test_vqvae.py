"""The motion tokenizer: golden numbers, a padded batch against its rows alone, and its checkpoints."""

import pytest
import torch
from torch.nn import functional as F

from models.encdec import ACTIVATIONS, ConvConfig, MaskedNorm, ResidualStack, TimeConv
from models.ids import pad_id
from models.quantize import QUANTIZERS
from models.vqvae import TRAINING_STATE, VQVAE, VQConfig, decode_long, load_vqvae, vqvae_checkpoint
from utils.checkpoint import halved, load_checkpoint, save_checkpoint

FRAMES = (40, 64, 100, 196)
LENGTHS = (64, 37, 40, 9)  # frames; two of them fill their last token only in part


@pytest.fixture
def published(shared):
    return shared / "golden/A/vq_net_last.pth"


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny(seed=0, **conv):
    """A small tokenizer with random codes and norms, so that nothing in it is zero or one by chance."""
    torch.manual_seed(seed)
    model = VQVAE(VQConfig(dim=11, codes=24, code_dim=6, conv=ConvConfig(**{"width": 32, **conv})))
    for module in model.modules():
        if isinstance(module, MaskedNorm):
            torch.nn.init.normal_(module.norm.weight, 1, 0.3)
            torch.nn.init.normal_(module.norm.bias, 0.5, 0.3)
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    z = model.latents(normal(1, 200, 11, seed=1))[0][0][0]
    model.quantizer.codebook.copy_(z[:24].detach())  # codes that encoding does pick
    model.set_statistics(normal(11, seed=2), normal(11, seed=3).exp())
    return model.eval()


def padded(lengths, seed=4):
    """Motion [B, T, 11] with garbage past each row's length, and the rows alone."""
    motion = normal(len(lengths), max(lengths), 11, seed=seed)
    rows = [motion[i : i + 1, :n].clone() for i, n in enumerate(lengths)]
    for i, n in enumerate(lengths):
        motion[i, n:] = 1e3 * normal(max(lengths) - n, 11, seed=seed + 1)
    return motion, rows


@pytest.mark.parametrize("frames", FRAMES)
@torch.no_grad()
def test_golden(golden, published, frames):
    model = load_vqvae(published)
    motion = golden[f"vq.motion.{frames}"]
    ids = model.encode(motion)
    assert torch.equal(ids, golden[f"vq.ids.{frames}"])
    assert (model.decode(ids) - golden[f"vq.decoded.{frames}"]).abs().max() < 1e-4
    reconstruction = model(motion, torch.tensor([frames]))
    assert (reconstruction.motion - golden[f"vq.forward.{frames}"]).abs().max() < 1e-4
    assert torch.equal(reconstruction.ids, ids[0])


@torch.no_grad()
def test_golden_in_one_padded_batch(golden, published):
    model = load_vqvae(published)
    motion = torch.full((len(FRAMES), max(FRAMES), 263), 7.0)
    for row, frames in zip(motion, FRAMES):
        row[:frames] = golden[f"vq.motion.{frames}"][0]
    lengths = torch.tensor(FRAMES)
    ids = model.encode(motion, lengths)
    decoded = model.decode(ids, lengths)
    for i, frames in enumerate(FRAMES):
        assert torch.equal(ids[i, : frames // 4], golden[f"vq.ids.{frames}"][0])
        assert (ids[i, frames // 4 :] == pad_id(48)).all()
        assert (decoded[i, :frames] - golden[f"vq.decoded.{frames}"][0]).abs().max() < 1e-4


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [None, "LN", "GN", "BN"])
@torch.no_grad()
def test_a_padded_batch_is_its_rows_alone(norm, activation):
    model = tiny(norm=norm, activation=activation, width=64)
    motion, rows = padded(LENGTHS)
    lengths = torch.tensor(LENGTHS)
    (z,), mask = model.latents(motion, lengths)
    ids = model.encode(motion, lengths)
    decoded = model.decode(ids, lengths)
    garbage = torch.where(mask, ids, torch.randint(24, ids.shape))
    assert torch.equal(model.decode(garbage, lengths), decoded)
    for i, (row, frames) in enumerate(zip(rows, LENGTHS)):
        tokens = -(-frames // 4)
        z_alone, ids_alone = model.latents(row)[0][0], model.encode(row)
        assert ids_alone.shape == (1, tokens) and len(ids_alone.unique()) > 1
        assert torch.allclose(z[i, :tokens], z_alone, atol=1e-5 * z_alone.abs().max().item())
        assert mask[i].tolist() == [True] * tokens + [False] * (16 - tokens)
        assert torch.equal(ids[i, :tokens], ids_alone[0])
        assert (ids[i, tokens:] == pad_id(24)).all()
        alone = model.decode(ids_alone)[0]
        assert torch.allclose(decoded[i, :frames], alone[:frames], atol=1e-5 * alone.abs().max().item())
        assert (decoded[i, frames:] == 0).all()


@pytest.mark.parametrize("norm", [None, "GN"])
@torch.no_grad()
def test_reconstruction_of_a_padded_batch_is_that_of_its_rows(norm):
    model = tiny(norm=norm)
    lengths = (64, 36, 8)
    motion, rows = padded(lengths)
    together = model(motion, torch.tensor(lengths))
    alone = [model(row, torch.tensor([n])) for row, n in zip(rows, lengths)]
    assert torch.equal(together.ids, torch.cat([one.ids for one in alone]))
    for i, (one, n) in enumerate(zip(alone, lengths)):
        assert torch.allclose(together.motion[i, :n], one.motion[0], atol=1e-5)
    tokens = [n // 4 for n in lengths]  # the loss is a mean over tokens
    expected = sum(one.loss * n for one, n in zip(alone, tokens)) / sum(tokens)
    assert together.loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("down_t", [1, 2, 3])
@torch.no_grad()
def test_a_part_of_a_token_counts_as_one(down_t):
    model = tiny(down_t=down_t)
    unit = 2**down_t
    motion = normal(2, 20, 11)
    for frames in range(1, 21):
        ids = model.encode(motion[:, :frames])
        tokens = -(-frames // unit)
        assert ids.shape == (2, tokens)
        assert model.decode(ids).shape == (2, tokens * unit, 11)
        held = torch.cat((motion[:, :frames], motion[:, frames - 1 : frames].repeat(1, unit, 1)), dim=1)
        assert torch.equal(ids, model.encode(held[:, : tokens * unit]))  # the last frame holds


@torch.no_grad()
def test_decode_of_encode_of_the_codes_own_motion():
    """What `decode` gives depends on the ids alone, and `forward` is `decode` of `encode`."""
    model = tiny()
    motion = normal(3, 40, 11)
    ids = model.encode(motion)
    through = model(motion, torch.full((3,), 40))
    assert torch.equal(through.ids.view(3, 10), ids)
    assert torch.allclose(through.motion, model.decode(ids), atol=1e-5)


def test_the_largest_dilation_comes_first():
    model = VQVAE(VQConfig(dim=11, codes=24, code_dim=6, conv=ConvConfig(width=32)))
    stacks = {name: module for name, module in model.named_modules() if isinstance(module, ResidualStack)}
    assert sum(name.startswith("encoder.") for name in stacks) == 2
    assert sum(name.startswith("decoder.") for name in stacks) == 2
    for stack in stacks.values():
        assert [block.conv1.dilation for block in stack.model] == [(9,), (3,), (1,)]
    deeper = ResidualStack(ConvConfig(width=32, depth=4, growth=2))
    assert [block.conv1.dilation for block in deeper.model] == [(8,), (4,), (2,), (1,)]


def test_normalise_is_z_score_and_has_an_inverse():
    model, features = tiny(), normal(2, 5, 11)
    assert torch.allclose(model.normalise(features)[1, 2, 3], (features[1, 2, 3] - model.mean[3]) / model.std[3])
    assert torch.allclose(model.denormalise(model.normalise(features)), features, atol=1e-5)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_training_reduces_the_reconstruction_error(kind):
    """Standing still at a random place, in 16 codes."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    conv = ConvConfig(width=16, depth=1)
    model = VQVAE(VQConfig(dim=3, codes=16, code_dim=4, conv=conv, quantizer=kind, mu=0.9)).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0)
    lengths, errors = torch.full((32,), 8), []
    for _ in range(160):
        motion = (2 * torch.rand(32, 1, 1, generator=generator) - 1).expand(-1, 8, 3)
        out = model(motion, lengths, generator)
        error = F.smooth_l1_loss(out.motion, motion)
        optimiser.zero_grad()
        (error + 0.02 * out.loss).backward()
        optimiser.step()
        errors.append(error.item())
    assert sum(errors[-5:]) < 0.2 * sum(errors[:5])


def rewritten(path, target, change):
    content = load_checkpoint(path)
    change(content)
    save_checkpoint(target, content)
    return target


@pytest.mark.parametrize("kind, norm", [("ema_reset", None), ("orig", "GN"), ("reset", "BN"), ("ema", "LN")])
@torch.no_grad()
def test_our_checkpoint_rebuilds_the_model(tmp_path, kind, norm):
    conv = ConvConfig(width=32, depth=2, down_t=1, growth=2, activation="silu", norm=norm)
    torch.manual_seed(5)
    model = VQVAE(VQConfig(dim=11, codes=24, code_dim=6, conv=conv, quantizer=kind, mu=0.9, beta=0.5))
    model.set_statistics(normal(11), normal(11, seed=1).exp())
    motion = normal(2, 20, 11, seed=2)
    model.train()(motion, torch.tensor([20, 20]))  # running statistics move
    model.eval()
    save_checkpoint(tmp_path / "vq.pth", vqvae_checkpoint(model, "t2m"))
    loaded = load_vqvae(tmp_path / "vq.pth")
    assert loaded.config == model.config and not loaded.training
    own, state = model.state_dict(), loaded.state_dict()
    assert own.keys() == state.keys() and all(torch.equal(own[name], state[name]) for name in own)
    assert torch.equal(loaded.encode(motion), model.encode(motion))
    assert torch.equal(loaded.decode(model.encode(motion)), model.decode(model.encode(motion)))
    assert load_checkpoint(tmp_path / "vq.pth")["dataset"] == "t2m"


@pytest.mark.parametrize("norm", [None, "BN"])
@torch.no_grad()
def test_our_checkpoint_in_half_precision(tmp_path, norm):
    model = tiny(norm=norm)
    content = vqvae_checkpoint(model, "t2m")
    save_checkpoint(tmp_path / "half.pth", {**content, "net": halved(content["net"])})
    loaded = load_vqvae(tmp_path / "half.pth")
    for name, value in loaded.state_dict().items():
        own = model.state_dict()[name]
        assert value.dtype == own.dtype
        expected = own if name in ("mean", "std") or not own.is_floating_point() else own.half().float()
        assert torch.equal(value, expected)
    ids = model.encode(normal(1, 40, 11))
    whole = model.decode(ids)
    assert (loaded.decode(ids) - whole).abs().max() < 1e-2 * whole.abs().max()


def test_training_state_may_be_left_out_of_a_file(tmp_path):
    model = tiny()
    content = vqvae_checkpoint(model, "t2m")
    for name in TRAINING_STATE:
        content["net"].pop(f"vqvae.{name}", None)
    save_checkpoint(tmp_path / "vq.pth", content)
    motion = normal(1, 40, 11)
    assert torch.equal(load_vqvae(tmp_path / "vq.pth").encode(motion), model.encode(motion))


def test_statistics_come_from_the_file_else_as_given(tmp_path):
    model = tiny()
    content = vqvae_checkpoint(model, "t2m")
    save_checkpoint(tmp_path / "with.pth", content)
    save_checkpoint(tmp_path / "without.pth", {key: content[key] for key in ("net", "config")})
    mean, std = torch.full((11,), 3.0), torch.full((11,), 5.0)
    kept = load_vqvae(tmp_path / "with.pth", mean=mean, std=std)
    assert torch.equal(kept.mean, model.mean) and torch.equal(kept.std, model.std)
    given = load_vqvae(tmp_path / "without.pth", mean=mean, std=std.numpy())
    assert torch.equal(given.mean, mean) and torch.equal(given.std, std)
    none = load_vqvae(tmp_path / "without.pth")
    assert (none.mean == 0).all() and (none.std == 1).all()


def test_published_sizes_are_read_off_the_shapes(published):
    model = load_vqvae(published, mean=torch.ones(263), std=torch.full((263,), 2.0))
    assert model.config == VQConfig(dim=263, codes=48, code_dim=16, conv=ConvConfig(width=32, depth=3, down_t=2))
    assert (model.mean == 1).all() and (model.std == 2).all()


@pytest.mark.parametrize("depth, down_t", [(1, 1), (2, 3), (4, 2)])
@torch.no_grad()
def test_the_published_layout_loads_without_config(tmp_path, depth, down_t):
    model = tiny(depth=depth, down_t=down_t)
    content = vqvae_checkpoint(model, "t2m")
    net = {name: v for name, v in content["net"].items() if not name.endswith(TRAINING_STATE)}
    save_checkpoint(tmp_path / "net_last.pth", {"net": net})
    loaded = load_vqvae(tmp_path / "net_last.pth")
    assert loaded.config == model.config
    motion = normal(2, 48, 11)
    ids = model.encode(motion)
    assert torch.equal(loaded.encode(motion), ids) and torch.equal(loaded.decode(ids), model.decode(ids))


def test_a_stage_2_file_is_refused(shared):
    path = shared / "golden/A/trans_net_last.pth"
    with pytest.raises(ValueError, match=r"trans_net_last\.pth.*stage-1"):
        load_vqvae(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.pth"):
        load_vqvae(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("name", ["decoder.model.0.bias", "encoder.model.0.weight", "quantizer.codebook"])
def test_a_missing_tensor_is_named(tmp_path, published, name):
    path = rewritten(published, tmp_path / "vq.pth", lambda content: content["net"].pop(f"vqvae.{name}"))
    with pytest.raises(ValueError, match=name):
        load_vqvae(path)


def test_a_tensor_of_another_shape_is_named(tmp_path):
    content = vqvae_checkpoint(tiny(), "t2m")
    content["net"]["vqvae.decoder.model.0.bias"] = torch.zeros(5)
    save_checkpoint(tmp_path / "vq.pth", content)
    with pytest.raises(ValueError, match=r"decoder\.model\.0\.bias.*\[5\].*\[32\]"):
        load_vqvae(tmp_path / "vq.pth")


def test_a_tensor_too_many_is_named(tmp_path):
    content = vqvae_checkpoint(tiny(), "t2m")
    content["net"]["vqvae.decoder.model.99.bias"] = torch.zeros(5)
    save_checkpoint(tmp_path / "vq.pth", content)
    with pytest.raises(ValueError, match=r"decoder\.model\.99\.bias"):
        load_vqvae(tmp_path / "vq.pth")


# --- Motions of any length


@torch.no_grad()
@pytest.mark.parametrize("sizes", [{}, {"down_t": 1}, {"down_t": 3, "depth": 2}, {"norm": "LN"}, {"norm": "GN"}])
@pytest.mark.parametrize("tokens", [1, 20, 21, 97])
def test_stretches_decode_to_what_one_pass_does(sizes, tokens):
    torch.manual_seed(0)
    model = VQVAE(VQConfig(codes=16, code_dim=4, conv=ConvConfig(**{"width": 64} | sizes))).eval()
    model.quantizer.codebook.normal_()
    for name, parameter in model.decoder.named_parameters():
        if name.endswith("weight") and parameter.dim() == 3:
            parameter.mul_(3)  # far frames have a say
    ids = torch.randint(16, (tokens,))
    whole = model.decode(ids[None])[0]
    torch.testing.assert_close(decode_long(model, ids, stretch=20), whole, rtol=1e-4, atol=1e-4 * whole.abs().max())


@torch.no_grad()
def test_the_reach_of_the_decoder_is_not_guessed_too_high():
    """A token farther than that changes nothing, one a little nearer does."""
    model = VQVAE(VQConfig(codes=16, code_dim=4, conv=ConvConfig(width=32))).eval()
    model.quantizer.codebook.normal_()
    reach = model.config.conv.decoder_reach
    ids = torch.zeros(100, dtype=torch.long)
    plain = model.decode(ids[None])[0].double()

    def moved(token):
        changed = ids.clone()
        changed[token] = 3
        return (model.decode(changed[None])[0].double() - plain).abs().amax(dim=1)

    touched = moved(50).nonzero()[:, 0]
    assert 4 * (50 - reach) <= touched.min() and touched.max() < 4 * (51 + reach)
    assert touched.min() < 4 * (50 - reach + 4), "or too much is decoded twice"


@pytest.mark.parametrize("size, stride, padding, dilation", [(3, 1, 9, 9), (3, 1, 1, 1), (4, 2, 1, 1), (1, 1, 0, 1)])
def test_a_convolution_in_bfloat16_is_the_convolution(size, stride, padding, dilation):
    """To bfloat16's rounding, its gradients too; in float32 it is torch's own."""
    torch.manual_seed(0)
    ours = TimeConv(8, 6, size, stride=stride, padding=padding, dilation=dilation)
    theirs = torch.nn.Conv1d(8, 6, size, stride=stride, padding=padding, dilation=dilation)
    theirs.load_state_dict(ours.state_dict())
    x, y = (torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    assert torch.equal(ours(x), theirs(y))
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(x)
    expected = theirs(y)
    weights = torch.randn(expected.shape)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for a, b in ((found, expected), (x.grad, y.grad), (ours.weight.grad, theirs.weight.grad)):
        assert (a.float() - b).abs().max() < 0.02 * b.abs().max()
