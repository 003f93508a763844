"""The judge: golden embeddings, a padded batch against its rows alone, and what it says of files that are none."""

import pytest
import torch
from torch.nn import functional as F

from models.evaluator import PARTS, WINDOW, Evaluator, EvaluatorConfig, load_evaluator
from utils.checkpoint import halved, load_checkpoint, save_checkpoint

TINY = EvaluatorConfig(
    dim=19, movement_hidden=10, movement=8, word=7, pos=5, text_hidden=9, motion_hidden=12, embedding=6
)
LENGTHS = (64, 37, 196, 4, 195, 200, 47)  # frames: within, at and past the published window


@pytest.fixture
def published(shared):
    return shared / "golden/A/finest.tar"


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny(seed=0):
    torch.manual_seed(seed)
    return Evaluator(TINY).eval()


def save(path, model, **changes):
    """The model in the published layout, with some parts changed."""
    content = {part: getattr(model, part).state_dict() for part in PARTS}
    save_checkpoint(path, {**content, "opt_text_encoder": {}, "epoch": 3, **changes})
    return path


# --- The published method ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_golden(golden, published):
    model = load_evaluator(published)
    text = model.embed_text(golden["eval.word_vectors"], golden["eval.pos_one_hot"], golden["eval.caption_lengths"])
    assert (text - golden["eval.text_embedding"]).abs().max() < 1e-4
    motion, lengths = golden["eval.motion"], golden["eval.motion_lengths"]
    assert (model.embed_motion(motion, lengths) - golden["eval.motion_embedding"]).abs().max() < 1e-4
    assert WINDOW in lengths


@torch.no_grad()
def test_golden_in_another_order_cut_and_one_by_one(golden, published):
    model = load_evaluator(published)
    motion, lengths, expected = golden["eval.motion"], golden["eval.motion_lengths"], golden["eval.motion_embedding"]
    short = lengths < 120
    assert (model.embed_motion(motion[short, :120], lengths[short]) - expected[short]).abs().max() < 1e-4
    for i in (0, 14, 16):
        n = lengths[i : i + 1]
        assert (model.embed_motion(motion[i : i + 1, : n.item()], n) - expected[i]).abs().max() < 1e-4
    words, pos, lengths = (golden[f"eval.{key}"].flip(0) for key in ("word_vectors", "pos_one_hot", "caption_lengths"))
    assert (model.embed_text(words, pos, lengths) - golden["eval.text_embedding"].flip(0)).abs().max() < 1e-4


def last_states(x, part):
    """[1, 2 H] of a sequence [L, H]: the equations of a GRU, one step after the other, from each side."""
    gru, ends = part.gru, []
    for direction, (end, steps) in enumerate((("", x), ("_reverse", x.flip(0)))):
        h = part.hidden[direction, 0]
        for step in steps:
            a = getattr(gru, f"weight_ih_l0{end}") @ step + getattr(gru, f"bias_ih_l0{end}")
            b = getattr(gru, f"weight_hh_l0{end}") @ h + getattr(gru, f"bias_hh_l0{end}")
            (ar, az, an), (br, bz, bn) = a.chunk(3), b.chunk(3)
            z = torch.sigmoid(az + bz)
            h = (1 - z) * torch.tanh(an + torch.sigmoid(ar + br) * bn) + z * h
        ends.append(h)
    return torch.cat(ends)[None]


@pytest.mark.parametrize("frames", [4, 64, 67, 192, 195, 196])
@torch.no_grad()
def test_a_motion_is_what_a_plain_reading_of_the_method_gives(frames):
    model, motion = tiny(), normal(1, frames, 19, seed=1)
    part = model.motion_encoder
    x = F.pad(motion[..., :-4], (0, 0, 0, WINDOW - frames)).transpose(1, 2)  # as published: zeros to 196
    for conv in (model.movement_encoder.main[0], model.movement_encoder.main[3]):
        x = F.leaky_relu(F.conv1d(x, conv.weight, conv.bias, stride=2, padding=1), 0.2)
    steps = model.movement_encoder.out_net(x[0].T)[: frames // 4]
    expected = part.output_net(last_states(part.input_emb(steps), part))
    assert torch.allclose(model.embed_motion(motion, torch.tensor([frames])), expected, atol=1e-5)


@torch.no_grad()
def test_a_text_is_what_a_plain_reading_of_the_method_gives():
    model, words, pos = tiny(), normal(1, 9, 7), normal(1, 9, 5, seed=1)
    part = model.text_encoder
    x = part.input_emb(words[0] + pos[0] @ part.pos_emb.weight.T + part.pos_emb.bias)
    for length in (1, 5, 9):
        expected = part.output_net(last_states(x[:length], part))
        assert torch.allclose(model.embed_text(words, pos, torch.tensor([length])), expected, atol=1e-5)


# --- Rows of a batch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [7.0, 1e4, float("nan")])
@torch.no_grad()
def test_padded_motions_are_their_rows_alone(garbage):
    model = tiny()
    lengths = torch.tensor(LENGTHS)
    motion = torch.full((len(LENGTHS), 210, 19), garbage)
    rows = [normal(1, n, 19, seed=n) for n in LENGTHS]
    for i, row in enumerate(rows):
        motion[i, : LENGTHS[i]] = row[0]
    before = motion.clone()
    together = model.embed_motion(motion, lengths)
    assert torch.equal(motion.nan_to_num(), before.nan_to_num())
    for i, row in enumerate(rows):
        assert torch.allclose(together[i], model.embed_motion(row, lengths[i : i + 1])[0], atol=1e-5)
    assert torch.pdist(together).min() > 1e-3


@torch.no_grad()
def test_padded_texts_are_their_rows_alone():
    model, lengths = tiny(), torch.tensor([3, 22, 1, 9])
    words, pos = normal(4, 22, 7), normal(4, 22, 5, seed=1)
    together = model.embed_text(words, pos, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone = model.embed_text(words[i : i + 1, :n], pos[i : i + 1, :n], lengths[i : i + 1])
        assert torch.allclose(together[i], alone[0], atol=1e-5)
        words[i, n:], pos[i, n:] = float("nan"), float("nan")
    assert torch.equal(model.embed_text(words, pos, lengths), together)


@torch.no_grad()
def test_contacts_do_not_count_and_everything_else_does():
    model, motion, lengths = tiny(), normal(1, 40, 19), torch.tensor([40])
    embedding = model.embed_motion(motion, lengths)
    for feature in range(19):
        other = motion.clone()
        other[:, 20, feature] += 1
        assert torch.equal(model.embed_motion(other, lengths), embedding) == (feature >= 15)


def test_gradients_reach_every_weight():
    model, lengths = tiny().train(), torch.tensor([40, 33])
    text = model.embed_text(normal(2, 9, 7), normal(2, 9, 5), torch.tensor([4, 9]))
    (text * model.embed_motion(normal(2, 40, 19), lengths)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, lengths, message",
    [
        ((2, 40, 18), (40, 40), r"wants frames of \[rows, frames, 19\], not \[2, 40, 18\]"),
        ((40, 19), (40,), "wants frames"),
        ((2, 40, 19), (40, 41), "4 to 40 frames: 40 to 41"),
        ((2, 40, 19), (3, 40), "4 to 40 frames: 3 to 40"),
        ((2, 40, 19), (40,), "2 rows of frames"),
        ((0, 40, 19), (), "0 rows of frames"),
    ],
)
def test_motions_that_do_not_fit(shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        tiny().embed_motion(torch.zeros(shape), torch.tensor(lengths))


def test_texts_that_do_not_fit():
    model, words, pos = tiny(), torch.zeros(1, 9, 7), torch.zeros(1, 9, 5)
    for arguments, message in (
        ((words, pos, torch.tensor([0])), "1 to 9 words: 0 to 0"),
        ((words, pos, torch.tensor([10])), "1 to 9 words"),
        ((words, pos[..., :4], torch.tensor([9])), "wants word classes"),
        ((words, pos[:, :8], torch.tensor([9])), "1 to 8 word classes"),
        ((words[..., :3], pos, torch.tensor([9])), "wants words"),
    ):
        with pytest.raises(ValueError, match=message):
            model.embed_text(*arguments)


# --- Files ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_file_gives_the_judge_back_with_its_sizes(tmp_path):
    model = tiny()
    loaded = load_evaluator(save(tmp_path / "finest.tar", model))
    assert loaded.config == TINY and not loaded.training
    motion, lengths = normal(2, 40, 19), torch.tensor([40, 21])
    assert torch.equal(loaded.embed_motion(motion, lengths), model.embed_motion(motion, lengths))
    halves = {part: halved(getattr(model, part).state_dict()) for part in PARTS}
    small = load_evaluator(save(tmp_path / "half.tar", model, **halves))
    assert small.embed_motion(motion, lengths).dtype == torch.float32
    assert torch.allclose(small.embed_motion(motion, lengths), model.embed_motion(motion, lengths), atol=1e-2)


def test_published_sizes():
    with torch.device("meta"):
        judge = Evaluator(EvaluatorConfig())
    assert judge.movement_encoder.main[0].weight.shape == (512, 259, 4)
    assert judge.text_encoder.hidden.shape == (2, 1, 512) and judge.motion_encoder.hidden.shape == (2, 1, 1024)
    assert judge.motion_encoder.output_net[3].weight.shape == (512, 1024)


def test_the_published_file_has_just_these_weights(published):
    content = load_checkpoint(published)
    names = {f"{part}.{name}" for part in PARTS for name in content[part]}
    assert set(tiny().state_dict()) == names


@pytest.mark.parametrize(
    "part, name, value, message",
    [
        ("text_encoder", "hidden", None, "missing text_encoder.hidden"),
        ("text_encoder", "pos_emb.weight", None, "missing text_encoder.pos_emb.weight"),
        ("movement_encoder", "main.0.weight", torch.zeros(3), r"main.0.weight is \[3\]"),
        ("motion_encoder", "hidden", torch.zeros(2, 1, 5), r"hidden is \[2, 1, 5\], not \[2, 1, 12\]"),
        ("motion_encoder", "output_net.3.weight", torch.zeros(4, 12), r"is \[4, 12\], not \[6, 12\]"),
        ("movement_encoder", "main.9.weight", torch.zeros(1), "unexpected movement_encoder.main.9.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, part, name, value, message):
    state = dict(getattr(tiny(), part).state_dict())
    state.pop(name, None)
    if value is not None:
        state[name] = value
    path = save(tmp_path / "finest.tar", tiny(), **{part: state})
    with pytest.raises(ValueError, match=message) as caught:
        load_evaluator(path)
    assert str(path) in str(caught.value)


def test_files_that_are_no_judge(tmp_path):
    path = tmp_path / "net.pth"
    save_checkpoint(path, {"net": {}, "config": {}})
    with pytest.raises(ValueError, match=r"net.pth is no judge: it has no movement_encoder.*\(net, config\)"):
        load_evaluator(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"net.pth is no readable checkpoint .*another program\)$"):
        load_evaluator(path)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        load_evaluator(tmp_path / "absent.tar")
