"""The learned text encoder: words by their pieces, padding that does not count, its checkpoint."""

import pytest
import torch
from torch.nn import functional as F

from models.text_encoder import (
    MAX_WORDS,
    LearnedTextConfig,
    LearnedTextEncoder,
    build_text_encoder,
    build_vocabulary,
    split_words,
    word_units,
)
from utils.checkpoint import load_checkpoint, save_checkpoint

TEXTS = [
    "a person strolls", "they stroll ahead", "a person strolled", "someone walks", "a person walked", "walk on",
    "a person bows", "bow down", "someone bowed", "she's waving a hand", "wave",
]  # fmt: skip


def make(width=32, seed=0, **options):
    torch.manual_seed(seed)
    return LearnedTextEncoder(LearnedTextConfig(width, heads=2, **options), build_vocabulary(TEXTS)).eval()


@pytest.fixture
def encoder():
    return make()


def close(a, b):
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5)


# --- Words


def test_split_words():
    assert split_words("  A man WALKS, then\tre-turns; it's 2x!\n") == [
        "a",
        "man",
        "walks",
        "then",
        "re",
        "turns",
        "it's",
        "2x",
    ]
    assert split_words(" ... !?") == split_words("") == []


def test_word_units():
    assert word_units("walk")[0] == "<walk>"
    assert set(word_units("walk")[1:]) == {"<wa", "wal", "alk", "lk>", "<wal", "walk", "alk>", "<walk", "walk>"}
    assert word_units("a") == ["<a>"]
    assert len(set(word_units("banana"))) == len(word_units("banana"))


def test_vocabulary():
    units = build_vocabulary(["stroll strolls bow"])
    assert len(set(units)) == len(units) and set(units[:3]) == {"<stroll>", "<strolls>", "<bow>"}
    assert "strol" in units, "in two words"
    assert "bow" not in units and "bow>" not in units, "in one word"
    assert units == build_vocabulary(["bow stroll", "strolls", "bow"]), "the order of the texts is of no matter"


@pytest.mark.parametrize(
    "unseen, known, other",
    [("strolling", "stroll", "bow"), ("walking", "walk", "stroll"), ("bowing", "bow", "walk")],
)
@torch.no_grad()
def test_unseen_forms_come_near_the_known_word(unseen, known, other):
    def mean(word):
        (units,) = encoder.known_words(word)
        return encoder.units[units].mean(dim=0)

    for seed in range(3):
        encoder = make(width=128, seed=seed)
        assert f"<{unseen}>" not in encoder.index
        near, far = (F.cosine_similarity(mean(unseen), mean(word), dim=0) for word in (known, other))
        assert near > 0.4 > 0.2 > abs(far)


@torch.no_grad()
def test_unknown_words_are_left_out(encoder):
    assert encoder.known_words("zzzz 99") == []
    assert len(encoder.known_words("a zzzz person, 99 walks")) == 3
    with_them, without = encoder(["a zzzz person, 99 walks"]), encoder(["A person walks!"])
    assert all(torch.equal(a, b) for a, b in zip(with_them, without))
    assert all(torch.equal(a, b) for a, b in zip(encoder(["zzzz"]), encoder([""])))


def test_unknown_words():
    encoder = LearnedTextEncoder(LearnedTextConfig(32, heads=2), build_vocabulary([*TEXTS, "er läuft"]))
    assert encoder.unknown_words("A person, strolling; er läuft!") == []
    assert encoder.unknown_words("a stranger SWIMS, swims: идёт 99") == ["stranger", "swims", "идёт", "99"]
    assert encoder.known_words("stranger"), "by n-grams that it shares by chance"
    assert encoder.unknown_words("") == encoder.unknown_words("?!") == []


# --- Sentences


@torch.no_grad()
def test_shapes(encoder):
    sentence, words, mask = encoder(["a person walks", "", "bow"])
    assert sentence.shape == (3, 32) and words.shape == (3, 4, 32)
    assert mask.tolist() == [[True] * 4, [True] + [False] * 3, [True] * 2 + [False] * 2]
    assert torch.isfinite(sentence).all() and torch.isfinite(words[mask]).all()


@torch.no_grad()
def test_empty_sentence(encoder):
    empty = encoder([""])
    assert empty.words.shape == (1, 1, 32) and empty.mask.all() and torch.isfinite(empty.sentence).all()
    assert not torch.allclose(empty.sentence, encoder(["walk"]).sentence, atol=0.01)


@torch.no_grad()
def test_padded_batch_equals_its_rows(encoder):
    texts = ["someone strolls ahead, then waves a hand", "", "bow", "a person walked on"]
    batch = encoder(texts)
    for text, sentence, words, mask in zip(texts, *batch):
        alone = encoder([text])
        assert close(sentence[None], alone.sentence) and close(words[mask][None], alone.words)


@torch.no_grad()
def test_words_and_their_order_count(encoder):
    one, swapped, other = encoder(["walk then bow", "bow then walk", "walk then wave"]).sentence
    assert (one - swapped).abs().max() > 0.01 and (one - other).abs().max() > 0.01


def test_training(encoder):
    """Pieces and words drop out, and gradients reach all that was used."""
    encoder.train()
    torch.manual_seed(0)
    first, second = encoder(["a person walks", ""]).sentence, encoder(["a person walks", ""]).sentence
    assert not torch.equal(first, second)
    for _ in range(20):
        out = encoder(["bow", "", "zzzz"])
        assert torch.isfinite(out.sentence).all() and out.mask[:, 0].all()
    encoder(["walk on"] * 8).sentence.square().sum().backward()
    used = [unit for word in encoder.known_words("walk on") for unit in word]
    moved = encoder.units.grad.abs().sum(dim=1) > 0
    assert moved[used].all() and moved.sum() == len(set(used))
    assert encoder.ends.grad.abs().min() > 0


@torch.no_grad()
def test_new_words(encoder, tmp_path):
    """What it knew means what it meant; the new pieces are in the checkpoint."""
    before = encoder(["a person walks"]).sentence
    unknown, known = encoder.known_words("zigzag on"), encoder.known_words("bow")
    encoder.learn_words(build_vocabulary(["zigzags", "zigzag bow"]))
    assert torch.equal(encoder(["a person walks"]).sentence, before) and encoder.known_words("bow") == known
    assert encoder.known_words("zigzag on")[1:] == unknown and len(set(encoder.vocabulary)) == len(encoder.units)
    save_checkpoint(tmp_path / "text.pth", encoder.checkpoint())
    again = build_text_encoder(load_checkpoint(tmp_path / "text.pth"), "text.pth").eval()
    assert torch.equal(again(["zigzag"]).sentence, encoder(["zigzag"]).sentence)


def test_too_many_words(encoder):
    assert encoder([" ".join(["walk"] * MAX_WORDS)]).words.shape[1] == MAX_WORDS + 1
    for words in (["walk"] * (MAX_WORDS + 1), ["zzzz"] * (MAX_WORDS + 1)):
        with pytest.raises(ValueError, match=rf"{MAX_WORDS} words.*{MAX_WORDS + 1}"):
            encoder(["bow", " ".join(words)])


# --- Its checkpoint


@torch.no_grad()
def test_checkpoint_round_trip(encoder, tmp_path):
    path = tmp_path / "text.pth"
    save_checkpoint(path, encoder.checkpoint())
    again = build_text_encoder(load_checkpoint(path), str(path)).eval()
    assert again.config == encoder.config and again.vocabulary == encoder.vocabulary
    texts = ["a person strolling", "", "wave"]
    assert all(torch.equal(a, b) for a, b in zip(encoder(texts), again(texts)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "bert"}, "unknown kind 'bert'"),
        ({"config": {"text_dim": 32, "size": 3}}, "another version"),
        ({"vocabulary": ["<walk>"]}, "units is"),
        ({"state": {}}, "missing"),
    ],
)
def test_checkpoints_that_do_not_fit(encoder, change, message):
    with pytest.raises(ValueError, match=rf"some\.pth.*{message}"):
        build_text_encoder({**encoder.checkpoint(), **change}, "some.pth")


def test_clip_is_named_not_kept(monkeypatch):
    """The released files hold no text encoder: theirs is CLIP, from where the checkpoint or the caller says."""
    monkeypatch.setattr("models.clip.load_clip", lambda source: f"CLIP of {source}")
    assert build_text_encoder(None, "some.pth") == "CLIP of None"
    assert build_text_encoder({"kind": "clip", "source": "a"}, "some.pth") == "CLIP of a"
    assert build_text_encoder({"kind": "clip", "source": "a"}, "some.pth", "b") == "CLIP of b"
