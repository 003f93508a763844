"""The benchmark of sampling: both ways do the same, and its tables can be read."""

import torch

from benchmarks import report
from benchmarks.report import Table, keep
from benchmarks.sampling_speed import Parts, operations, plain_ids, plain_motions, take_turns
from dataset.spec import T2M
from models.transformer import TransformerConfig
from tests.tiny import tiny_text_encoder, tiny_transformer, tiny_vq

TEXTS = ["a person walks forward", "someone waves", "a person runs"]


def tiny_parts() -> Parts:
    tokenizer = tiny_vq(T2M)
    return Parts(tokenizer, tiny_transformer(tokenizer), tiny_text_encoder())


def test_both_ways_give_the_same_ids():
    parts = tiny_parts()
    for packed in (True, False):
        pipeline = parts.pipeline(torch.device("cpu"), "32", packed)
        for frames in (4, 36, 76):
            features, ids = pipeline.generate_features(TEXTS, [frames] * 3, temperature=0.0)
            # a sentence at a time: the small encoder's words would have to be padded
            plain = torch.cat([plain_ids(parts, [text], frames, temperature=0.0) for text in TEXTS])
            assert torch.equal(torch.stack(ids), plain)
            assert [motion.shape for motion in features] == [(frames, 263)] * 3
    assert [motion.shape for motion in plain_motions(parts, TEXTS[:1], 76)] == [(76, 263)]


def test_the_floor_of_the_published_size():
    """41 positions x about 231 M weights x 2 x 9 steps."""
    assert round(operations(TransformerConfig(), 236_000_000, 39) / 1e9) == 170


def test_turns():
    order = []
    seconds = take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 2 and seconds.keys() == {"a", "b"} and seconds["a"].clock > 0


def test_results_are_appended(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    table = Table("Speed", ("way", "ms"), [("plain", "2"), ("quick", "1")], ["on a GPU: not measured"])
    for _ in range(2):
        path = keep("speed", [table])
    text = path.read_text()
    assert text.count("### Speed") == 2 and text.count("| quick | 1 |") == 2 and "torch" in text.splitlines()[0]
