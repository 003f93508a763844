"""Clips as tokens: encoding in padded batches, drawing rows."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import dataset.tokens
from dataset.balance import balancing_weights
from dataset.humanml import Caption, Clip
from dataset.spec import BANDAI, KIT
from dataset.tokens import TokenRows, codebook_tokens, encode_clips, shifted_clips
from models.encdec import ConvConfig
from models.ids import end_id, pad_id
from models.vqvae import vqvae_checkpoint
from tests.tiny import contents, tiny_vq
from utils.checkpoint import save_checkpoint

CPU = torch.device("cpu")
CODES = 100


def make_clips(frames, dim=BANDAI.dim):
    generator = torch.Generator().manual_seed(0)
    return [
        Clip(f"clip{i}", torch.randn(count, dim, generator=generator).numpy(), (Caption(f"text {i}", ()),))
        for i, count in enumerate(frames)
    ]


def rows_of(lengths, longest=49, captions=1, weights=None, least_share=1.0):
    """Clips whose ids all differ: clip i holds 10 i, 10 i + 1, ... (so its ids say where they come from)."""
    ids = [torch.arange(10 * i, 10 * i + length) for i, length in enumerate(lengths)]
    clips = [
        Clip(f"clip{i}", None, tuple(Caption(f"{i} {j}", ()) for j in range(captions))) for i in range(len(lengths))
    ]
    return TokenRows(clips, ids, CODES, longest, weights, least_share), ids


# --- Encoding


@pytest.mark.parametrize("batch", [1, 3, 128])
@torch.no_grad()
def test_encode_clips_equals_one_at_a_time(batch):
    model = tiny_vq()
    frames = [64, 41, 199, 4, 47, 60, 6]
    clips = make_clips(frames)
    found = encode_clips(model, clips, CPU, batch)
    assert [len(ids) for ids in found] == [count // 4 for count in frames]
    for ids, clip in zip(found, clips):
        whole = torch.from_numpy(clip.motion[: len(clip.motion) // 4 * 4])
        assert torch.equal(ids, model.encode(model.normalise(whole)[None])[0])
    assert len(torch.cat(found).unique()) > 5, "a control: the ids say something"


def test_shifted_clips_are_the_clip_without_its_first_frames():
    clips = make_clips([64, 41])
    assert shifted_clips(clips, 1) == clips
    shifted = shifted_clips(clips, 3)
    assert [clip.name for clip in shifted] == ["clip0", "clip1", "clip0+1", "clip1+1", "clip0+2", "clip1+2"]
    for i, clip in enumerate(shifted):
        assert np.array_equal(clip.motion, clips[i % 2].motion[i // 2 :])
        assert clip.captions == clips[i % 2].captions
    name = "Mdataset-2_walk-turn-left_active_001"
    assert BANDAI.kind(shifted_clips([replace(clips[0], name=name)], 2)[1].name) == "walk-turn-left"


def test_encode_clips_takes_the_tokenizers_own_rate():
    model = tiny_vq(conv=ConvConfig(width=16, depth=1, down_t=3))
    assert [len(ids) for ids in encode_clips(model, make_clips([64, 41]), CPU)] == [8, 5]


# --- The codebook folder


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """`export(clips)` gives the ids and the names of the clips that it had to encode; the folder; the checkpoint."""
    model, checkpoint = tiny_vq(), tmp_path / "net_last.pth"
    save_checkpoint(checkpoint, vqvae_checkpoint(model, BANDAI.name))
    encoded = []

    def counting(model, clips, *rest):
        encoded.extend(clip.name for clip in clips)
        return encode_clips(model, clips, *rest)

    monkeypatch.setattr(dataset.tokens, "encode_clips", counting)

    def export(clips, with_model=model):
        encoded.clear()
        return codebook_tokens(with_model, clips, checkpoint, CPU), list(encoded)

    return export, tmp_path / "codebook", checkpoint


def alone(model, clip):
    """Ids of one clip by itself."""
    whole = torch.from_numpy(clip.motion[: len(clip.motion) // 4 * 4])
    return model.encode(model.normalise(whole)[None])[0]


def same(found, expected):
    return len(found) == len(expected) and all(
        a.dtype == b.dtype == torch.long and torch.equal(a, b) for a, b in zip(found, expected)
    )


def test_export_is_each_clip_alone(exported):
    export, folder, _ = exported
    clips = make_clips([64, 41, 199, 4, 47])
    expected = [alone(tiny_vq(), clip) for clip in clips]
    found, encoded = export(clips)
    assert same(found, expected) and sorted(encoded) == [clip.name for clip in clips]
    files = {path.name for path in folder.iterdir()}
    assert files == {"index.json", *(f"clip{i}.npy" for i in range(5))}
    for clip, ids in zip(clips, expected):
        assert np.load(folder / f"{clip.name}.npy").tolist() == ids.tolist()


def test_the_second_export_encodes_nothing(exported):
    export, folder, _ = exported
    clips = make_clips([64, 41, 60])
    first, _ = export(clips)
    before = contents(folder)
    again, encoded = export(clips[::-1])
    assert encoded == [] and same(again, first[::-1]) and contents(folder) == before


def test_clips_that_are_new_join_the_others(exported):
    """As the splits of a dataset do, one after another."""
    export, _, _ = exported
    clips = make_clips([64, 41, 60, 44])
    expected = [alone(tiny_vq(), clip) for clip in clips]
    export(clips[:2])
    found, encoded = export(clips[1:])
    assert sorted(encoded) == ["clip2", "clip3"] and same(found, expected[1:])
    found, encoded = export(clips)
    assert encoded == [] and same(found, expected)


def test_a_killed_export_of_another_tokenizer_leaves_no_foreign_ids(exported):
    """Two checkpoints of one folder share its codebook: some files are the other's, the index is still this one's."""
    export, folder, checkpoint = exported
    clips = make_clips([64, 41, 60])
    first, _ = export(clips)
    mine = checkpoint.read_bytes(), (folder / "index.json").read_bytes()
    other = tiny_vq(seed=1)
    save_checkpoint(checkpoint, vqvae_checkpoint(other, BANDAI.name))
    foreign, _ = export(clips, other)
    assert not torch.equal(foreign[1], first[1]), "the control: they do differ"
    checkpoint.write_bytes(mine[0])
    (folder / "index.json").write_bytes(mine[1])
    found, encoded = export(clips)
    assert same(found, first) and "clip1" in encoded


def test_another_checkpoint_encodes_again(exported):
    export, _, checkpoint = exported
    clips = make_clips([64, 41, 60])
    first, _ = export(clips)
    other = tiny_vq(seed=1)
    save_checkpoint(checkpoint, vqvae_checkpoint(other, BANDAI.name))
    found, encoded = export(clips, other)
    assert sorted(encoded) == ["clip0", "clip1", "clip2"]
    assert same(found, [alone(other, clip) for clip in clips]) and not same(found, first)
    assert export(clips, other)[1] == []


@pytest.mark.parametrize(
    "change",
    [lambda motion: motion[1:], lambda motion: motion[:-4], lambda motion: motion + 1],
    ids=["start", "end", "all"],
)
def test_other_motion_under_a_name_encodes_again(exported, change):
    export, _, _ = exported
    clips = make_clips([64, 41, 60])
    export(clips)
    clips[1] = replace(clips[1], motion=change(clips[1].motion))
    found, encoded = export(clips)
    assert encoded == ["clip1"] and same(found, [alone(tiny_vq(), clip) for clip in clips])
    assert export(clips)[1] == []


def test_an_interrupted_export_is_completed(exported, monkeypatch):
    """Cut off while it writes: whole files, no index, and the next run does not believe what it finds."""
    export, folder, _ = exported
    clips = make_clips([64, 41, 60])
    written, save = [], np.save

    def cut_off(path, ids):
        written.append(path)
        if len(written) > 2:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(path, ids)

    with monkeypatch.context() as patch:
        patch.setattr(dataset.tokens.np, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            export(clips)
    assert {path.name for path in folder.iterdir()} == {"clip0.npy", "clip1.npy"}
    np.save(folder / "clip0.npy", np.zeros(3, np.int32))  # of a run before, with another tokenizer
    found, encoded = export(clips)
    assert sorted(encoded) == ["clip0", "clip1", "clip2"] and same(found, [alone(tiny_vq(), clip) for clip in clips])
    assert export(clips)[1] == [] and len(contents(folder)) == 4


def test_a_file_that_was_lost_is_made_again(exported):
    export, folder, _ = exported
    clips = make_clips([64, 41, 60])
    first, _ = export(clips)
    (folder / "clip1.npy").unlink()
    found, encoded = export(clips)
    assert encoded == ["clip1"] and same(found, first) and (folder / "clip1.npy").is_file()


# --- Drawing


def test_rows_are_sub_rows_of_the_clip():
    rows, ids = rows_of([7, 1, 3, 10, 2], captions=3)
    batch = rows.draw(500, torch.Generator().manual_seed(0))
    assert batch.rows.shape[1] == batch.lengths.max() + 1
    seen = set()
    for row, length, text in zip(batch.rows.tolist(), batch.lengths.tolist(), batch.texts):
        clip, caption = map(int, text.split())
        whole, part = ids[clip].tolist(), row[:length]
        assert row[length] == end_id(CODES) and set(row[length + 1 :]) <= {pad_id(CODES)}
        assert part in ([whole, whole[1:], whole[:-1]] if len(whole) > 1 else [whole])
        seen.add((clip, caption, part[0] == whole[0], part[-1] == whole[-1]))
    for clip in range(5):
        ends = {(True, True), (True, False), (False, True)} if len(ids[clip]) > 1 else {(True, True)}
        assert {found[1] for found in seen if found[0] == clip} == {0, 1, 2}
        assert {found[2:] for found in seen if found[0] == clip} == ends


def test_rows_of_parts_stay_together():
    _, ids = rows_of([7, 1, 3])
    clips = [Clip(str(i), None, (Caption(f"{i} 0", ()),)) for i in range(3)]
    parts = TokenRows(clips, [torch.stack((row, row + 40), dim=-1) for row in ids], CODES, 5)
    draws = [rows.draw(200, torch.Generator().manual_seed(0)) for rows in (TokenRows(clips, ids, CODES, 5), parts)]
    assert torch.equal(draws[1].rows[..., 0], draws[0].rows) and draws[0].texts == draws[1].texts
    motion = draws[0].rows < CODES
    assert torch.equal(draws[1].rows[..., 1], torch.where(motion, draws[0].rows + 40, draws[0].rows))


def test_augmentation_takes_a_third():
    rows, _ = rows_of([8])
    batch = rows.draw(6000, torch.Generator().manual_seed(0))
    shorter = batch.lengths == 7
    assert (batch.lengths[~shorter] == 8).all()
    assert shorter.float().mean().item() == pytest.approx(1 / 3, abs=0.02)
    assert (batch.rows[shorter, 0] == 1).float().mean().item() == pytest.approx(1 / 2, abs=0.04)


def test_stretches():
    """Of every length from the least share to the whole, anywhere in the clip; none of it outside training."""
    rows, ids = rows_of([10, 9], least_share=0.6)
    lengths, starts = Counter(), Counter()
    draws = torch.Generator().manual_seed(0)
    for _ in range(40):
        batch = rows.draw(50, draws)
        for row, length in zip(batch.rows, batch.lengths.tolist()):
            clip = ids[int(row[0]) // 10]
            start = int(row[0]) % 10
            assert torch.equal(row[:length], clip[start : start + length]), "a stretch of the clip, in one piece"
            assert row[length] == end_id(CODES)
            lengths[len(clip), length] += 1
            starts[len(clip), start] += 1
    assert {length for clip, length in lengths if clip == 10} == {6, 7, 8, 9, 10}, "6: 7, less a dropped end"
    assert {start for clip, start in starts if clip == 10} == {0, 1, 2, 3, 4}
    assert {length for clip, length in lengths if clip == 9} == {5, 6, 7, 8, 9}
    assert rows.draw(50, draws, augment=False).lengths.min() == 9


def test_without_augmentation():
    rows, ids = rows_of([7, 1, 3])
    batch = rows.draw(200, torch.Generator().manual_seed(0), augment=False)
    for row, length, text in zip(batch.rows, batch.lengths, batch.texts):
        assert torch.equal(row[:length], ids[int(text.split()[0])])


def test_longest():
    rows, _ = rows_of([9, 3], longest=5)
    assert rows.lengths.tolist() == [5, 3]
    batch = rows.draw(300, torch.Generator().manual_seed(0))
    assert batch.lengths.max() == 5 and batch.rows.shape == (300, 6)
    for row, length in zip(batch.rows.tolist(), batch.lengths.tolist()):
        part = row[:length]
        assert part == list(range(part[0], part[0] + length)) and row[length] == end_id(CODES)


def test_draws_follow_the_generator_and_the_weights():
    rows, _ = rows_of([4, 4, 4], weights=torch.tensor([1.0, 0.0, 3.0]))
    batch, same, other = (rows.draw(2000, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(batch.rows, same.rows) and batch.texts == same.texts
    assert batch.texts != other.texts
    count = Counter(batch.texts)
    assert count.keys() == {"0 0", "2 0"} and count["2 0"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_balancing_weights():
    names = [f"dataset-1_walk_happy_{i:03d}" for i in range(6)]
    names += ["Mdataset-2_bow_sad_001", "dataset-1_bow_normal_004@0-90", "dataset-2_walk-turn-left_tired_007"]
    clips = [Clip(name, None, ()) for name in names]
    even = balancing_weights(clips, BANDAI, 0.0)
    assert even.shape == (9,) and (even == even[0]).all()
    full, half = balancing_weights(clips, BANDAI, 1.0), balancing_weights(clips, BANDAI, 0.5)
    for weights, walk, bow, turn in ((full, 1, 1, 1), (half, 6**0.5, 2**0.5, 1)):
        total = torch.stack((weights[:6].sum(), weights[6:8].sum(), weights[8:].sum()))
        torch.testing.assert_close(total / total[2], torch.tensor([walk, bow, turn], dtype=total.dtype))
    unknown = balancing_weights(clips, KIT, 1.0)
    assert (unknown == unknown[0]).all(), "names of kit tell no kinds"
