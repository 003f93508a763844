"""Rows of ids against a plain loop, and the counting of tokens."""

import math

import pytest
import torch

from models.ids import (
    FRAMES_PER_TOKEN,
    end_id,
    length_mask,
    make_rows,
    mask_id,
    pad_id,
    predicted,
    token_count,
    with_predicted,
)


def plain_row(ids, length, codes, row_length):
    row = [*ids[:length], codes, *[codes + 1] * row_length]
    return row[:row_length]


def test_special_ids_follow_the_codes_in_the_published_order():
    assert (end_id(8192), pad_id(8192), mask_id(8192)) == (8192, 8193, 8194)


@pytest.mark.parametrize("size", [1, 7, 9, 10, 13])  # of the ids given; a row is 10
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_rows_are_motion_end_and_padding(size, dtype):
    codes, row_length = 5, 10
    generator = torch.Generator().manual_seed(size)
    lengths = torch.arange(1, min(size, row_length) + 1)
    ids = torch.randint(codes, (len(lengths), size), generator=generator, dtype=dtype)
    rows = make_rows(ids, lengths, codes, row_length)
    assert rows.dtype == dtype
    assert rows.tolist() == [plain_row(row, n, codes, row_length) for row, n in zip(ids.tolist(), lengths.tolist())]


def test_what_stood_past_the_length_is_gone():
    ids = torch.tensor([[1, 2, 99, 98], [3, 97, 96, 95]])
    assert make_rows(ids, torch.tensor([2, 1]), 5, 6).tolist() == [[1, 2, 5, 6, 6, 6], [3, 5, 6, 6, 6, 6]]


@pytest.mark.parametrize("unit", [1, 2, FRAMES_PER_TOKEN, 8])
def test_token_count_rounds_up_numbers_and_tensors(unit):
    frames = list(range(1, 200))
    expected = [math.ceil(n / unit) for n in frames]
    assert [token_count(n, unit) for n in frames] == expected
    assert token_count(torch.tensor(frames), unit).tolist() == expected


def test_the_longest_motion_takes_49_tokens():
    assert token_count(196) == 49 and token_count(193) == 49 and token_count(192) == 48


def test_length_mask_is_true_up_to_the_length():
    assert length_mask(torch.tensor([0, 2, 3, 5]), 3).int().tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]


def test_rows_of_parts_are_the_rows_of_each():
    ids, lengths = torch.arange(2 * 6 * 2).view(2, 6, 2), torch.tensor([6, 2])
    for row_length in (5, 6, 9):
        rows = make_rows(ids, lengths, 30, row_length)
        assert rows.shape == (2, row_length, 2)
        for part in (0, 1):
            assert torch.equal(rows[..., part], make_rows(ids[..., part], lengths, 30, row_length))


def test_what_is_predicted_is_the_first_part():
    whole, parts, new = torch.arange(6).view(2, 3), torch.arange(12).view(2, 3, 2), torch.full((2, 3), 99)
    assert predicted(whole) is whole and torch.equal(predicted(parts), parts[..., 0])
    assert with_predicted(whole, new) is new
    assert with_predicted(parts, new).tolist() == torch.stack((new, parts[..., 1]), dim=-1).tolist()
