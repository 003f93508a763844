"""Edits with small untrained models: what is kept, what has an influence, and motions in a row."""

import numpy as np
import pytest
import torch

from dataset.spec import BANDAI, KIT
from models.edits import (
    TASKS,
    Edit,
    check_edit,
    edit,
    encode_kept,
    fill,
    generate_long,
    range_mask,
    task_frames,
    task_ranges,
    token_mask,
    transition_row,
)
from models.ids import mask_id
from models.pipeline import MotionPipeline
from tests.motions import walking
from tests.tiny import make_checkpoints
from utils.motion import features_to_joints, joints_to_features, root_path

MASK = mask_id(16)
RANGES = {task: task_frames(task, 61, 4) for task in TASKS} | {"odd": [(5, 7), (22, 50)], "all": [(0, 61)]}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    files = make_checkpoints(tmp_path_factory.mktemp("tiny"))
    return MotionPipeline.load(files.vq, files.trans, "cpu", files.length, precision="32")


def motion(frames=61, speed=1.2, turn=1.0, spec=BANDAI):
    return joints_to_features(walking(spec, frames + 1, speed, turn), spec)


def hidden(ranges, frames=61):
    return range_mask(ranges, frames).numpy()


def same(a, b):
    return np.array_equal(a.ids, b.ids) and np.allclose(a.features, b.features, atol=1e-4)


# --- Which tokens


def test_tasks_make_what_the_paper_masks():
    """16 tokens divide evenly; every other number keeps and makes the same shares to a token."""
    assert task_ranges("inbetween", 16) == [(4, 12)]
    assert task_ranges("outpaint", 16) == [(0, 4), (12, 16)]
    assert task_ranges("prefix", 16) == [(8, 16)]
    assert task_ranges("suffix", 16) == [(0, 8)]
    for tokens in range(3, 60):
        between = range_mask(task_ranges("inbetween", tokens), tokens)
        assert torch.equal(~between, range_mask(task_ranges("outpaint", tokens), tokens))
        assert torch.equal(
            ~range_mask(task_ranges("prefix", tokens), tokens)[: tokens // 2], torch.ones(tokens // 2) > 0
        )
        for task in TASKS:
            made = range_mask(task_ranges(task, tokens), tokens)
            assert abs(made.sum() - tokens / 2) <= 1 and not made.all()
    with pytest.raises(ValueError, match="3 tokens or more"):
        task_ranges("inbetween", 2)
    with pytest.raises(ValueError, match="unknown edit 'long'"):
        task_ranges("long", 20)


def test_frames_of_tasks_end_with_the_motion():
    assert task_frames("inbetween", 61, 4) == [(16, 48)]
    assert task_frames("outpaint", 61, 4) == [(0, 16), (48, 61)]


def test_a_token_is_made_where_any_of_its_frames_is():
    assert token_mask(range_mask([(3, 5), (12, 13)], 14), 4).tolist() == [True, True, False, True]


@pytest.mark.parametrize("ranges", [[(0, 62)], [(-1, 4)], [(5, 5)], [(9, 4)], [(70, 80)]])
def test_ranges_outside(pipeline, ranges):
    with pytest.raises(ValueError, match=f"{ranges[0][0]}:{ranges[0][1]} is not within the motion.* 0:61"):
        edit(pipeline, [Edit(motion(), ranges)])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((40, 251)), r"\[T, 263\], not \[40, 251\]"),
        (np.zeros((7, 263)), "8 frames or more to be edited, not 7"),
        (np.full((40, 263), np.nan), "nan"),
        (np.zeros(263), r"not \[263\]"),
    ],
)
def test_motions_that_are_none(pipeline, features, message):
    with pytest.raises(ValueError, match=message):
        check_edit(Edit(features, [(0, 4)]), pipeline)


# --- What is kept


@pytest.mark.parametrize("task", RANGES)
def test_every_kept_stretch_is_encoded_by_itself(pipeline, task):
    features, tokenizer = torch.from_numpy(motion()), pipeline.tokenizer
    made = token_mask(range_mask(RANGES[task], 61), 4)
    (row,) = encode_kept(tokenizer, [features], [made])
    assert torch.equal(row == MASK, made)
    edges = [0, *(np.flatnonzero(np.diff(made.numpy())) + 1), len(made)]
    for first, end in zip(edges, edges[1:]):
        if not made[first]:
            alone = tokenizer.encode(tokenizer.normalise(features[4 * first : 4 * end])[None])
            assert torch.equal(row[first:end], alone[0])


@pytest.mark.parametrize("task", RANGES)
def test_kept_tokens_and_frames_come_back(pipeline, task):
    features, mask = motion(), hidden(RANGES[task])
    (row,) = encode_kept(pipeline.tokenizer, [torch.from_numpy(features)], [token_mask(torch.from_numpy(mask), 4)])
    (result,) = edit(pipeline, [Edit(features, RANGES[task], "a person walks")], seed=2)
    kept = (row != MASK).numpy()
    assert np.array_equal(result.ids[kept], row.numpy()[kept]) and (result.ids < 16).all()
    assert np.array_equal(result.features[~mask], features[~mask]), "not a bit is changed"
    assert result.features.shape == features.shape and np.isfinite(result.features).all()
    np.testing.assert_allclose(result.joints, features_to_joints(result.features, BANDAI), atol=1e-6)
    assert hidden(result.generated).tolist() == mask.tolist() and result.fps == BANDAI.fps


@pytest.mark.parametrize("task", RANGES)
def test_hidden_frames_have_no_influence(pipeline, task):
    features, mask = motion(), hidden(RANGES[task])
    other = np.where(mask[:, None], np.random.default_rng(0).normal(size=features.shape), features).astype(np.float32)
    for keep_exact in (True, False):
        first, second = (
            edit(pipeline, [Edit(x, RANGES[task], "a person runs")], keep_exact=keep_exact)[0]
            for x in (features, other)
        )
        assert np.array_equal(first.features, second.features) and np.array_equal(first.joints, second.joints)


def test_without_keep_exact_all_is_the_decoders(pipeline):
    (result,) = edit(pipeline, [Edit(motion(), [(16, 48)])], keep_exact=False, feet=False)
    decoded = pipeline.tokenizer.decode(torch.from_numpy(result.ids)[None])
    decoded = pipeline.tokenizer.denormalise(decoded)[0, :61].detach().numpy()
    np.testing.assert_allclose(result.features, decoded, atol=1e-4)


def test_made_frames_beyond_the_blend_are_the_decoders(pipeline):
    """And contacts are so right up to the seam: half a contact means nothing."""
    exact, decoded = (
        edit(pipeline, [Edit(motion(), [(16, 48)])], keep_exact=keep, blend=5)[0] for keep in (True, False)
    )
    np.testing.assert_array_equal(exact.features[21:43], decoded.features[21:43])
    assert (exact.features[16:21] != decoded.features[16:21]).any()
    np.testing.assert_array_equal(exact.features[16:48, -4:], decoded.features[16:48, -4:])


# --- Where what follows stands


def test_what_follows_stands_where_the_made_part_arrives_or_where_it_stood(pipeline):
    features = motion()
    source = features_to_joints(features, BANDAI)
    for ranges in ([(16, 48)], [(21, 30)], [(12, 20), (32, 45)]):
        follows, stood = (edit(pipeline, [Edit(features, ranges)], bend=bend)[0] for bend in (False, True))
        last = ranges[-1][1]
        np.testing.assert_allclose(stood.joints[last:], source[last:], atol=1e-4)
        assert np.abs(follows.joints[last:] - source[last:]).max() > 1e-3
        mask = hidden(ranges)
        assert np.array_equal(stood.features[~mask], features[~mask])
        # heights and poses of the made part are not touched, only its way and its turn
        np.testing.assert_array_equal(stood.features[:, 3:193], follows.features[:, 3:193])
        # the suffix moved as one
        yaw, stood_yaw = (root_path(torch.from_numpy(x.features))[0] for x in (follows, stood))
        np.testing.assert_allclose(np.diff(yaw[last:, 0]), np.diff(stood_yaw[last:, 0]), atol=1e-6)


def test_bending_concerns_what_lies_between_kept_frames(pipeline):
    for task in ("prefix", "suffix", "outpaint"):
        plain, bent = (edit(pipeline, [Edit(motion(), RANGES[task])], bend=bend)[0] for bend in (False, True))
        assert np.array_equal(plain.features, bent.features)
    with pytest.raises(ValueError, match="bending"):
        edit(pipeline, [Edit(motion(), [(16, 48)])], bend=True, keep_exact=False)


# --- What a result depends on


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_edit_does_not_depend_on_the_others(pipeline, temperature):
    edits = [
        Edit(motion(), RANGES["inbetween"], "a person walks"),
        Edit(motion(33, 2.0), [(0, 9)]),
        Edit(motion(70), [(30, 40)], "someone waves"),
        Edit(motion(61, 0.5), RANGES["outpaint"], "a person walks"),
    ]
    together = edit(pipeline, edits, seed=1, temperature=temperature)
    backwards = edit(pipeline, edits[::-1], seed=1, temperature=temperature)[::-1]
    for one, result, other in zip(edits, together, backwards):
        assert same(result, other) and same(result, edit(pipeline, [one], seed=1, temperature=temperature)[0])


def test_seeds_samples_and_sentences(pipeline):
    def ids(text="a person walks", sample=0, **options):
        return edit(pipeline, [Edit(motion(), RANGES["outpaint"], text, sample)], **options)[0].ids.tolist()

    assert ids() == ids() == ids(seed=0)
    assert ids() != ids(seed=1) and ids() != ids(sample=1) and ids() != ids(text="")
    assert ids(temperature=0.0) == ids(seed=1, sample=2, temperature=0.0)
    assert ids("", cfg_scale=1.0) == ids("", cfg_scale=3.0), "nothing said: nothing to follow more closely"


def test_several_edits_that_have_nothing_to_make(pipeline):
    row = torch.tensor([3, 4, 5])
    (same_row,) = fill(pipeline, [row], [""])
    assert torch.equal(row, same_row)
    assert edit(pipeline, []) == []


@pytest.mark.parametrize(
    ("ranges", "window"), [([(0, 12)], (0, 19)), ([(100, 140)], (20, 39)), ([(190, 200)], (31, 50))]
)
def test_a_motion_longer_than_a_row(pipeline, ranges, window):
    """Rows hold 19 tokens: the transformer sees those around what is made, and all other frames stay."""
    features, made = torch.from_numpy(motion(200)), range_mask(ranges, 200)
    (result,) = edit(pipeline, [Edit(features, ranges, "a person walks")], temperature=0.0)
    assert np.array_equal(result.features[~made.numpy()], features[~made])
    (row,) = encode_kept(pipeline.tokenizer, [features], [token_mask(made, 4)])
    (filled,) = fill(pipeline, [row[slice(*window)]], ["a person walks"], temperature=0.0)
    assert torch.equal(torch.from_numpy(result.ids)[slice(*window)], filled)


def test_frames_too_far_apart_for_a_row(pipeline):
    with pytest.raises(ValueError, match=r"80 frames apart.*see 76 at once"):
        edit(pipeline, [Edit(motion(200), [(0, 4), (76, 80)])])


def test_kit(tmp_path):
    files = make_checkpoints(tmp_path, KIT)
    pipeline = MotionPipeline.load(files.vq, files.trans, "cpu", precision="32")
    features = motion(40, spec=KIT)
    (result,) = edit(pipeline, [Edit(features, [(10, 20)])], bend=True)
    source = features_to_joints(features, KIT) / 1000
    np.testing.assert_allclose(result.joints[20:], source[20:], atol=1e-3)
    np.testing.assert_allclose(result.joints[:10], source[:10], atol=1e-3)


# --- Motions in a row

TEXTS = ["a person walks forward", "someone waves", "a person walks forward"]
LENGTHS = [40, 33, 22]


def test_one_sentence_is_plain_generation(pipeline):
    for feet in (True, False):
        plain = pipeline.generate(["someone waves"] * 2, [41, 41], seed=4, feet=feet)
        long = generate_long(pipeline, ["someone waves"], [41], seed=4, cfg_scale=1.0, feet=feet, samples=2)
        for a, b in zip(plain, long):
            assert same(a, b) and np.allclose(a.joints, b.joints, atol=1e-4) and b.generated == ()


def test_sentences_are_made_as_alone_with_transitions_between(pipeline):
    alone = pipeline.generate(TEXTS, LENGTHS, seed=4)
    (long,) = generate_long(pipeline, TEXTS, LENGTHS, seed=4, cfg_scale=1.0, transition_tokens=3)
    a, b, c = (x.ids for x in alone)
    assert len(a) == 10 and len(b) == 9 and len(c) == 6
    assert np.array_equal(long.ids[:10], a) and np.array_equal(long.ids[13:22], b) and np.array_equal(long.ids[25:], c)
    assert long.generated == ((40, 52), (88, 100)) and len(long.features) == len(long.joints) == 100 + 22
    assert (long.ids < 16).all() and long.text == ", then ".join(TEXTS)
    decoded = pipeline.tokenizer.decode(torch.from_numpy(long.ids)[None])[0, :122].detach()
    (plain,) = generate_long(pipeline, TEXTS, LENGTHS, seed=4, cfg_scale=1.0, transition_tokens=3, feet=False)
    np.testing.assert_allclose(plain.features, pipeline.tokenizer.denormalise(decoded).numpy(), atol=1e-4)


def test_transitions_may_be_nothing(pipeline):
    alone = pipeline.generate(TEXTS, LENGTHS, seed=4)
    (long,) = generate_long(pipeline, TEXTS, LENGTHS, seed=4, cfg_scale=1.0, transition_tokens=0)
    assert np.array_equal(long.ids, np.concatenate([x.ids for x in alone])) and long.generated == ()


def test_transitions_follow_either_sentence_or_both(pipeline):
    def between(condition, texts=TEXTS[:2]):
        # at temperature 0 the sentence alone makes the difference
        (long,) = generate_long(
            pipeline, texts, [40, 32], temperature=0.0, transition_tokens=8, condition=condition, cfg_scale=4.0
        )  # fmt: skip
        return long.ids[10:18].tolist()

    found = {condition: between(condition) for condition in ("left", "right", "both")}
    assert found["left"] != found["right"]
    same_text = [between(condition, ["someone waves"] * 2) for condition in found]
    assert same_text[0] == same_text[1] == same_text[2]
    with pytest.raises(ValueError, match="both, left, right"):
        between("neither")


def test_samples_and_seeds_of_motions_in_a_row(pipeline):
    one, two, other = (
        generate_long(pipeline, TEXTS, LENGTHS, seed, samples=samples) for seed, samples in ((0, 1), (0, 2), (1, 1))
    )
    assert same(one[0], two[0]) and not same(two[0], two[1]) and not same(one[0], other[0])
    assert same(one[0], generate_long(pipeline, TEXTS, LENGTHS)[0])


def test_any_number_of_sentences(pipeline):
    """Longer than any row; lengths that are not given are the length model's."""
    lengths = [76, None, 30] * 4
    (long,) = generate_long(pipeline, TEXTS * 4, lengths, steps=2)
    (guess,) = pipeline.predict_lengths(["someone waves"])
    assert len(long.features) == 4 * (4 * 19 + guess + 32) + 11 * 8 - 2
    assert np.isfinite(long.joints).all() and len(long.generated) == 11


def test_numbers_of_lengths(pipeline):
    with pytest.raises(ValueError, match="3 sentences need as many lengths, not 2"):
        generate_long(pipeline, TEXTS, [40, 40])
    with pytest.raises(ValueError, match="from 4 to 76 frames, not 80"):
        generate_long(pipeline, TEXTS, [40, 80, 40])
    with pytest.raises(ValueError, match="from 0 to 17, not 18"):
        generate_long(pipeline, TEXTS, LENGTHS, transition_tokens=18)


def test_rows_of_transitions_fit():
    for left in range(1, 20):
        for right in range(1, 20):
            for count in (0, 2, 17):
                a, b = torch.arange(left), 100 + torch.arange(right)
                row, at = transition_row(a, b, count, 19, -1)
                assert len(row) <= 19 and row[at : at + count].tolist() == [-1] * count
                before, after = row[:at], row[at + count :]
                assert torch.equal(before, a[left - at :]) and torch.equal(after, b[: len(after)])
                assert 1 <= len(before) <= (left + 1) // 2 and 1 <= len(after) <= (right + 1) // 2
                if (left + 1) // 2 + count + (right + 1) // 2 <= 19:
                    assert len(before) == (left + 1) // 2 and len(after) == (right + 1) // 2
