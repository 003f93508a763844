"""Stage 2's corruption of a row: how much of it, where, and that a generator decides it alone."""

import pytest
import torch

from models.ids import length_mask, make_rows, mask_id
from models.masking import mask_at_random, mask_given, replace_at_random, training_rows

CODES, ROW = 512, 50


def rows_of(lengths, seed=0):
    lengths = torch.as_tensor(lengths)
    ids = torch.randint(CODES, (len(lengths), ROW), generator=torch.Generator().manual_seed(seed))
    return make_rows(ids, lengths, CODES, ROW), length_mask(lengths, ROW)


@pytest.mark.parametrize("least", [0.5, 0.0, 0.9])
def test_mask_count_lies_between_the_least_share_and_all(least):
    lengths = torch.arange(1, 50).repeat_interleave(20)
    ids, motion = rows_of(lengths)
    _, masked = mask_at_random(ids, motion, CODES, torch.Generator().manual_seed(1), least)
    for count, length in zip(masked.sum(dim=1).tolist(), lengths.tolist()):
        assert max(1, round(least * length)) <= count <= length


def test_mask_share_is_uniform_from_half_to_all():
    length, rows = 48, 4000
    ids, motion = rows_of([length] * rows)
    _, masked = mask_at_random(ids, motion, CODES, torch.Generator().manual_seed(2))
    count = masked.sum(dim=1).float()
    assert count.min() == 24 and count.max() == 48
    quartiles = torch.quantile(count, torch.tensor([0.25, 0.5, 0.75]))
    assert torch.allclose(quartiles, torch.tensor([30.0, 36.0, 42.0]), atol=1.01)


def test_every_motion_position_is_masked_equally_often():
    length, rows = 20, 4000
    ids, motion = rows_of([length] * rows)
    _, masked = mask_at_random(ids, motion, CODES, torch.Generator().manual_seed(3))
    share = masked[:, :length].float().mean(dim=0)
    assert (share - 0.75).abs().max() < 0.035  # 5 standard deviations


def test_mask_stands_where_it_says_and_nowhere_else():
    ids, motion = rows_of(range(1, 50))
    out, masked = mask_at_random(ids, motion, CODES, torch.Generator().manual_seed(4))
    assert torch.equal(out == mask_id(CODES), masked)
    assert not (masked & ~motion).any()
    assert torch.equal(out[~masked], ids[~masked])


def test_motion_need_not_begin_a_row():
    """A caller may leave any positions out."""
    ids, motion = rows_of([40] * 200)
    motion[:, 5:15] = False
    out, masked = mask_at_random(ids, motion, CODES, torch.Generator().manual_seed(5))
    assert torch.equal(out[:, 5:15], ids[:, 5:15])
    assert masked.sum(dim=1).min() >= 15 and masked.sum(dim=1).max() <= 30
    replaced = replace_at_random(ids, motion, CODES, 0.0, torch.Generator().manual_seed(5))
    assert torch.equal(replaced[~motion], ids[~motion])


@pytest.mark.parametrize("pkeep", [0.0, 0.2, 0.5, 0.9])
def test_share_of_replaced_ids(pkeep):
    ids, motion = rows_of([49] * 300)
    out = replace_at_random(ids, motion, CODES, pkeep, torch.Generator().manual_seed(6))
    changed = (out != ids)[motion].float().mean().item()
    assert changed == pytest.approx((1 - pkeep) * (1 - 1 / CODES), abs=0.02)  # 5 standard deviations


def test_replacements_are_codes_inside_the_motion():
    ids, motion = rows_of(range(1, 50))
    out = replace_at_random(ids, motion, CODES, 0.0, torch.Generator().manual_seed(7))
    assert torch.equal(out[~motion], ids[~motion])
    drawn = out[motion]
    assert drawn.min() >= 0 and drawn.max() < CODES
    assert len(drawn.unique()) > CODES / 2  # of 1225 draws


def test_keeping_all_changes_nothing():
    ids, motion = rows_of([49] * 300)
    assert torch.equal(replace_at_random(ids, motion, CODES, 1.0, torch.Generator().manual_seed(8)), ids)


def test_minus_one_draws_one_keep_rate_for_each_batch():
    ids, motion = rows_of([49] * 20)
    generator = torch.Generator().manual_seed(9)
    changed = [(replace_at_random(ids, motion, CODES, -1, generator) != ids)[motion] for _ in range(200)]
    share = torch.stack([batch.float().mean() for batch in changed])
    assert share.min() < 0.1 and share.max() > 0.9 and abs(share.mean() - 0.5) < 0.1
    halves = torch.stack([batch.view(2, -1).float().mean(dim=1) for batch in changed])
    assert (halves[:, 0] - halves[:, 1]).abs().max() < 0.15  # the same rate for all rows of a batch


def test_the_generator_decides():
    ids, motion = rows_of(range(1, 50))

    def corrupted(seed):
        generator = torch.Generator().manual_seed(seed)
        return mask_at_random(replace_at_random(ids, motion, CODES, -1, generator), motion, CODES, generator)[0]

    first = corrupted(10)
    torch.rand(3)  # the global generator has no say
    assert torch.equal(first, corrupted(10))
    assert not torch.equal(first, corrupted(11))


# --- Upper and lower body


def test_given_ids_are_masked_in_a_share_of_the_rows():
    """There anything from none to all, elsewhere nothing."""
    length, rows = 40, 4000
    ids, motion = rows_of([length] * rows)
    out = mask_given(ids, motion, CODES, torch.Generator().manual_seed(6), 0.5)
    masked = out == mask_id(CODES)
    assert torch.equal(out[~masked], ids[~masked]) and not (masked & ~motion).any()
    count = masked.sum(dim=1).float()
    assert (count > 0).float().mean().item() == pytest.approx(0.5 * (1 - 0.5 / length), abs=0.04)
    assert count.max() == length and count[count > 0].mean().item() == pytest.approx(length / 2, abs=1.5)
    for share, touched in ((0.0, 0.0), (1.0, 1 - 0.5 / length)):
        out = mask_given(ids, motion, CODES, torch.Generator().manual_seed(6), share)
        assert (out != ids).any(dim=1).float().mean().item() == pytest.approx(touched, abs=0.01)


def test_training_rows_are_replaced_and_masked():
    ids, motion = rows_of(range(1, 50))
    draws = torch.Generator().manual_seed(7)
    wanted = mask_at_random(replace_at_random(ids, motion, CODES, 0.4, draws), motion, CODES, draws)
    found = training_rows(ids, motion, CODES, torch.Generator().manual_seed(7), 0.4)
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])


def test_training_rows_of_parts():
    """The upper ids as of one part; the lower ones true, or MASK."""
    (upper, motion), (lower, _) = rows_of(range(1, 50)), rows_of(range(1, 50), seed=1)
    rows = torch.stack((upper, lower), dim=-1)
    alone, masked = training_rows(upper, motion, CODES, torch.Generator().manual_seed(7), 0.4)
    for share in (0.0, 1.0):
        draws = torch.Generator().manual_seed(7)
        found, where = training_rows(rows, motion, CODES, draws, 0.4, share)
        assert torch.equal(found[..., 0], alone) and torch.equal(where, masked)
        hidden = found[..., 1] == mask_id(CODES)
        assert hidden.any() == (share > 0) and not (hidden & ~motion).any()
        assert torch.equal(found[..., 1][~hidden], lower[~hidden])
