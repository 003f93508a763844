"""The protocol's test items, and captions and motions as the judge's arrays."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dataset.evaluation import (
    CLASSES,
    Item,
    batches,
    build_words,
    caption_length,
    draw_items,
    embed_batches,
    motion_inputs,
    read_glove,
    text_inputs,
)
from dataset.humanml import Caption, Clip
from models.evaluator import Evaluator, EvaluatorConfig, WordVectors

DIM = 9
WORDS = ("the", "unk", "sos", "eos", "walk", "left", "hand", "stair", "slowly", "person", "and")


def caption(*tokens):
    return Caption(" ".join(tokens), tokens)


def clip(frames, number=0, captions=("walk/VERB",)):
    """A clip whose first feature counts the frames."""
    motion = np.ones((frames, DIM), np.float32)
    motion[:, 0] = np.arange(frames)
    return Clip(f"clip{number}", motion, tuple(caption(*words.split()) for words in captions))


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def words():
    return WordVectors(WORDS, torch.randn(len(WORDS), 6, generator=torch.Generator().manual_seed(0)))


# --- Items ------------------------------------------------------------------------------------------------------------


@given(st.integers(4, 240), st.integers(0, 10**6))
def test_a_motion_is_cut_to_whole_steps_somewhere_inside_the_clip(frames, seed):
    (item,) = draw_items([clip(frames)], rng(seed))
    whole = min(frames, 196) // 4 * 4
    assert item.frames in (whole, whole - 4) and item.frames >= 4
    assert 0 <= item.start <= frames - item.frames
    np.testing.assert_array_equal(item.motion[:, 0], np.arange(item.start, item.start + item.frames))


def test_shares_of_cuts_places_and_captions():
    clips = [clip(62, i, ("a/DET", "b/NOUN", "c/NOUN")) for i in range(6000)]
    items = draw_items(clips, rng())
    assert [item.clip.name for item in items] == [c.name for c in clips]
    share = {key: n / 6000 for key, n in Counter((item.frames, item.start) for item in items).items()}
    for frames, places, total in ((60, 3, 2 / 3), (56, 7, 1 / 3)):
        for start in range(places):
            assert share.pop((frames, start)) == pytest.approx(total / places, abs=0.02)
    assert not share
    told = Counter(item.caption.text for item in items)
    assert all(abs(n / 6000 - 1 / 3) < 0.03 for n in told.values()) and len(told) == 3


def test_a_motion_of_one_step_is_not_cut_to_nothing():
    assert {item.frames for seed in range(20) for item in draw_items([clip(7)], rng(seed))} == {4}


def test_another_unit_and_window():
    items = [item for seed in range(20) for item in draw_items([clip(100)], rng(seed), unit=8, longest=64)]
    assert {item.frames for item in items} == {64, 56}


def test_same_generator_same_items_and_another_others():
    clips = [clip(40 + i, i, ("a/DET", "b/NOUN b/NOUN")) for i in range(70)]
    drawn = [batches(draw_items(clips, g), 32, g) for g in (rng(1), rng(1), rng(2))]
    places = [[[(item.clip.name, item.start) for item in batch] for batch in found] for found in drawn]
    assert places[0] == places[1] != places[2]


def test_batches_are_full_sorted_and_of_different_items():
    clips = [clip(40, i, (" ".join(["a/DET"] * (i % 25)),)) for i in range(100)]
    items = draw_items(clips, rng())
    drawn = batches(items, 32, rng())
    assert [len(batch) for batch in drawn] == [32, 32, 32]
    names = [item.clip.name for batch in drawn for item in batch]
    assert len(set(names)) == 96 and set(names) <= {c.name for c in clips}
    for batch in drawn:
        lengths = [caption_length(item.caption) for item in batch]
        assert lengths == sorted(lengths, reverse=True)
    assert [item.clip.name for item in drawn[0]] != [item.clip.name for item in items[:32]]
    assert {n for seed in range(9) for b in batches(items, 32, rng(seed)) for n in (i.clip.name for i in b)} == {
        c.name for c in clips
    }, "what is left out is drawn too"


def test_too_few_for_a_batch():
    with pytest.raises(ValueError, match="32 are needed for a batch, there are 31"):
        batches(draw_items([clip(40)] * 31, rng()), 32, rng())


# --- Words ------------------------------------------------------------------------------------------------------------


def test_the_length_of_a_caption_counts_no_padding():
    assert [caption_length(caption(*["a/DET"] * n)) for n in (0, 1, 19, 20, 21, 60)] == [2, 3, 21, 22, 22, 22]


def test_text_inputs(words):
    long = caption(*["walk/VERB"] * 30)
    vectors, classes, lengths = text_inputs([caption("the/DET", "person/NOUN"), long], words)
    assert vectors.shape == (2, 22, 6) and classes.shape == (2, 22, 15) and lengths.tolist() == [4, 22]
    expected = ["sos", "the", "person", "eos", *["unk"] * 18]
    assert torch.equal(vectors[0], words.vectors[[WORDS.index(word) for word in expected]])
    assert torch.equal(vectors[1], words.vectors[[WORDS.index(word) for word in ["sos", *["walk"] * 20, "eos"]]])
    assert torch.equal(classes.sum(dim=-1), torch.ones(2, 22))
    assert [CLASSES[k] for k in classes[0].argmax(dim=-1)[:5]] == ["OTHER", "DET", "NOUN", "OTHER", "OTHER"]


@pytest.mark.parametrize(
    "token, word, name",
    [
        ("left/ADJ", "left", "Loc_VIP"),
        ("walk/NOUN", "walk", "Act_VIP"),
        ("hand/NOUN", "hand", "Body_VIP"),
        ("stair/NOUN", "stair", "Obj_VIP"),
        ("slowly/ADV", "slowly", "Desc_VIP"),
        ("person/NOUN", "person", "NOUN"),
        ("and/CCONJ", "and", "OTHER"),
        ("person", "person", "OTHER"),
        ("jump/VERB", "unk", "OTHER"),  # unknown here, though its list is known
        ("and/or/DET", "unk", "OTHER"),
    ],
)
def test_words_and_their_classes(words, token, word, name):
    vectors, classes, lengths = text_inputs([caption(token)], words)
    assert torch.equal(vectors[0, 1], words.vectors[WORDS.index(word)])
    assert CLASSES[classes[0, 1].argmax()] == name and lengths.tolist() == [3]


def test_words_to_learn():
    clips = [clip(40, 0, ("walk/VERB there/ADV there/ADV", "sos/NOUN")), clip(40, 1, ("walk/NOUN on/ADP", "sos/NOUN"))]
    assert build_words(clips) == ("unk", "sos", "eos", "walk")
    assert build_words(clips, least=1) == ("unk", "sos", "eos", "on", "there", "walk")


def test_gradients_reach_the_words_that_are_there():
    learned = WordVectors(("unk", "sos", "eos", "walk", "run"), torch.zeros(5, 3, requires_grad=True))
    vectors, _, lengths = text_inputs([caption("walk/VERB")], learned)
    vectors[0, : lengths[0]].sum().backward()
    assert learned.vectors.grad[:, 0].tolist() == [0, 1, 1, 1, 0]


def test_word_vectors_that_cannot_be():
    with pytest.raises(ValueError, match="no vector for 'unk'"):
        WordVectors(("a",), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="1 words and vectors"):
        WordVectors(("unk",), torch.zeros(2, 3))


# --- GloVe ------------------------------------------------------------------------------------------------------------


def write_glove(folder, **changes):
    """The published three files, the rows in another order than the words."""
    words = ["unk", "walk", "sos", "eos"]
    rows = {word: 4 - i for i, word in enumerate(words)}
    content = {"data": np.arange(20, dtype=np.float64).reshape(5, 4), "words": words, "idx": rows} | changes
    folder.mkdir(exist_ok=True)
    np.save(folder / "our_vab_data.npy", content["data"])
    for name in ("words", "idx"):
        value = content[name]
        (folder / f"our_vab_{name}.pkl").write_bytes(value if isinstance(value, bytes) else pickle.dumps(value))
    return folder


def test_glove(tmp_path):
    glove = read_glove(write_glove(tmp_path))
    assert glove.words == ("unk", "walk", "sos", "eos") and glove.vectors.dtype == torch.float32
    assert glove.vectors[glove.row["walk"]].tolist() == [12, 13, 14, 15]
    vectors, _, _ = text_inputs([caption("walk/VERB", "hop/VERB")], glove)
    assert vectors[0, :4, 0].tolist() == [8, 12, 16, 4]


class Runs:
    """A pickle that touches a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["words", "idx"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_runs_nothing(tmp_path, name, protocol):
    for bad in (Runs(tmp_path / "touched"), ["unk", Runs(tmp_path / "touched")], {"unk": Runs(tmp_path / "touched")}):
        folder = write_glove(tmp_path / "glove", **{name: pickle.dumps(bad, protocol)})
        with pytest.raises(ValueError, match=rf"our_vab_{name}.pkl is no pickle of plain values: it asks for \w+.open"):
            read_glove(folder)
        assert not (tmp_path / "touched").exists()
    pickle.loads(pickle.dumps(Runs(tmp_path / "touched"), protocol)).close()
    assert (tmp_path / "touched").exists(), "the control: the pickle does what it is meant to"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"words": b"\x80\x05nonsense"}, "our_vab_words.pkl is no pickle"),
        ({"words": b""}, "our_vab_words.pkl is no pickle"),
        ({"words": {"unk": 0}}, "has no word vectors"),
        ({"idx": ["unk"]}, "has no word vectors"),
        ({"data": np.zeros(5)}, "has no word vectors"),
        ({"data": np.array([{}, []], dtype=object)}, "our_vab_data.npy is no readable npy"),
        ({"words": ["unk", 3]}, "no row for the word 3"),
        ({"words": ["unk", "new"]}, "no row for the word 'new'"),
        ({"idx": {"unk": 9, "walk": 0, "sos": 1, "eos": 2}}, "no row for the word 'unk'"),
        ({"idx": {"unk": -1, "walk": 0, "sos": 1, "eos": 2}}, "no row for the word 'unk'"),
        ({"idx": {"unk": "0", "walk": 0, "sos": 1, "eos": 2}}, "no row for the word 'unk'"),
        ({"words": ["walk"]}, "no vector for 'unk'"),
    ],
)
def test_glove_files_that_are_none(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_glove(write_glove(tmp_path / "glove", **changes))
    assert str(tmp_path / "glove") in str(caught.value)


def test_no_glove(tmp_path):
    with pytest.raises(ValueError, match=r"no .*our_vab_data.npy: bash dataset/prepare/download_glove.sh"):
        read_glove(tmp_path)


# --- Arrays -----------------------------------------------------------------------------------------------------------


def test_motion_inputs_are_normalised_and_zero_past_the_end():
    items = [Item(clip(50), caption(), 3, 40), Item(clip(90), caption(), 1, 88)]
    mean, std = torch.full((DIM,), 5.0), torch.full((DIM,), 2.0)
    motion, lengths = motion_inputs(items, mean, std)
    assert motion.shape == (2, 88, DIM) and lengths.tolist() == [40, 88]
    assert torch.equal(motion[0, :40, 0], (torch.arange(3, 43) - 5) / 2)
    assert motion[0, 40:].abs().max() == 0 and motion[1].abs().min(dim=-1).values.max() > 0
    assert items[0].clip.motion[0, 1] == 1, "the clips stay as they are"


def test_embeddings_are_in_the_order_of_the_items(words):
    torch.manual_seed(0)
    judge = Evaluator(EvaluatorConfig(DIM, 8, 8, word=6, text_hidden=8, motion_hidden=8, embedding=5)).eval()
    judge.set_statistics(torch.full((DIM,), 20.0), torch.full((DIM,), 9.0))
    clips = [clip(40 + i, i, (f"{WORDS[i]}/NOUN " + "walk/VERB " * i,)) for i in range(9)]
    drawn = batches(draw_items(clips, rng()), 4, rng())
    text, motion = embed_batches(judge, drawn, words)
    assert text.shape == motion.shape == (8, 5) and not text.requires_grad
    for i, item in enumerate(item for batch in drawn for item in batch):
        alone = embed_batches(judge, [[item]], words)
        assert torch.allclose(alone[0][0], text[i], atol=1e-5) and torch.allclose(alone[1][0], motion[i], atol=1e-5)
    assert torch.pdist(text).min() > 1e-4
