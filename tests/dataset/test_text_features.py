"""The table of a training set's text features, against an encoder that counts its calls."""

import hashlib
import os

import numpy as np
import pytest
import torch

import dataset.text_features
from dataset.text_features import text_table
from models.text_encoder import TextFeatures
from tests.tiny import contents

CPU = torch.device("cpu")
TEXTS = ["a person walks", "turns", "a person walks and turns left and waits", "jumps up"]
PLACES, SENTENCE, WORD = 12, 6, 5  # as CLIP's, the sentence's width is not the words'


class CountingEncoder:
    """Features by chance, but always the same of a sentence; garbage where there are no words."""

    kind, frozen = "fake", True

    def __init__(self, source="somewhere"):
        self.source = source
        self.seen: list[list[str]] = []

    def __call__(self, texts):
        self.seen.append(list(texts))
        rows = [self.one(text) for text in texts]
        words = torch.full((len(texts), PLACES, WORD), 1e3)
        mask = torch.zeros(len(texts), PLACES, dtype=torch.bool)
        for i, (_, vectors) in enumerate(rows):
            words[i, : len(vectors)] = vectors
            mask[i, : len(vectors)] = True
        return TextFeatures(torch.stack([sentence for sentence, _ in rows]), words, mask)

    def one(self, text):
        """Sentence [S] and words [begin, words, end]."""
        seed = int.from_bytes(hashlib.sha256(f"{self.source} {text}".encode()).digest()[:4], "little")
        generator = torch.Generator().manual_seed(seed)
        count = len(text.split()) + 2
        return torch.randn(SENTENCE, generator=generator), torch.randn(count, WORD, generator=generator)

    @property
    def texts(self):
        return [text for batch in self.seen for text in batch]


def table_in(folder, encoder=None, texts=TEXTS, **options):
    return text_table(encoder or CountingEncoder(), texts, folder, CPU, **options)


def half_close(found, exact):
    return found.shape == exact.shape and torch.allclose(found, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 256])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[::-1], TEXTS[:1], ["turns", "", "turns", "jumps up"], [""]])
def test_the_table_gives_what_the_encoder_gives(tmp_path, batch, texts):
    encoder = CountingEncoder()
    found, expected = table_in(tmp_path, encoder, batch=batch)(texts), encoder(texts)
    longest = int(expected.mask.sum(dim=1).max())
    assert found.mask.dtype == torch.bool and torch.equal(found.mask, expected.mask[:, :longest]), "no padding in vain"
    assert found.sentence.dtype == found.words.dtype == torch.float32
    assert half_close(found.sentence, expected.sentence)
    assert found.words.shape == (len(texts), longest, WORD)
    assert half_close(found.words[found.mask], expected.words[expected.mask])
    assert (found.words[~found.mask] == 0).all()


def test_only_words_that_exist_are_kept(tmp_path):
    table_in(tmp_path)
    arrays = {path.stem.rsplit("_", 1)[1]: np.load(path) for path in tmp_path.iterdir()}
    count = sum(len(text.split()) + 2 for text in ["", *TEXTS])
    assert {name: (array.shape, array.dtype) for name, array in arrays.items() if name != "ends"} == {
        "sentences": ((5, SENTENCE), np.float16),
        "words": ((count, WORD), np.float16),
    }
    assert arrays["ends"].shape == (5,) and arrays["ends"][-1] == count


def test_every_text_is_encoded_once_and_the_empty_one_too(tmp_path):
    encoder = CountingEncoder()
    table_in(tmp_path, encoder, [*TEXTS, *TEXTS, "turns"], batch=2)
    assert sorted(encoder.texts) == sorted(["", *TEXTS])
    assert len(encoder.seen) == 3


def test_a_generator_of_texts_will_do(tmp_path):
    assert table_in(tmp_path, texts=(text for text in TEXTS))(TEXTS).sentence.shape == (4, SENTENCE)


def test_the_second_start_does_not_run_the_encoder(tmp_path):
    first = table_in(tmp_path)
    before = contents(tmp_path)
    encoder = CountingEncoder()
    second = table_in(tmp_path, encoder, [*reversed(TEXTS), "turns"])  # the same set of texts
    for one, two in zip(first(TEXTS), second(TEXTS)):
        assert torch.equal(one, two)
    assert encoder.seen == [] and contents(tmp_path) == before


@pytest.mark.parametrize(
    "encoder, texts", [(CountingEncoder("elsewhere"), TEXTS), (CountingEncoder(), [*TEXTS, "sits"])]
)
def test_another_source_or_text_makes_another_table(tmp_path, encoder, texts):
    table_in(tmp_path)
    before = contents(tmp_path)
    found, expected = table_in(tmp_path, encoder, texts)(texts), CountingEncoder(encoder.source)(texts)
    assert len(encoder.texts) == len(texts) + 1
    assert half_close(found.sentence, expected.sentence)
    after = contents(tmp_path)
    assert len(after) == 2 * len(before) and before.items() <= after.items(), "and leaves the first"


def test_a_text_that_is_not_in_the_table(tmp_path):
    with pytest.raises(KeyError, match="unheard of"):
        table_in(tmp_path)(["turns", "unheard of"])


@pytest.mark.parametrize("fail_at", [0, 1, 2])
def test_files_are_written_whole(tmp_path, monkeypatch, fail_at):
    """Cut off in the middle of a file, a start leaves whole files only, and the next one completes them."""
    folder, saved, save = tmp_path / "features", [], np.save

    def cut_off(path, array):
        saved.append(path)
        if len(saved) > fail_at:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(dataset.text_features.np, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            table_in(folder)
    assert len(os.listdir(folder)) == fail_at
    for path in folder.iterdir():
        np.load(path)
    encoder = CountingEncoder()
    found = table_in(folder, encoder)(TEXTS)
    assert encoder.texts and half_close(found.sentence, encoder(TEXTS).sentence)
    assert len(os.listdir(folder)) == 3


def test_the_folder_is_made(tmp_path):
    table_in(tmp_path / "a" / "b")
    assert len(list((tmp_path / "a" / "b").iterdir())) == 3
