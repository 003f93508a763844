"""Parallel decoding: golden samples, a plain sampler beside it, and what no sample may break."""

import math

import pytest
import torch

from models.ids import length_mask, make_rows, mask_id, token_count
from models.sampling import masked_count, rounds_of, sample
from models.transformer import load_transformer
from models.vqvae import load_vqvae

CODES, MASK, ROW = 16, 18, 50


class Mock:
    """Logits that depend on the position and on all ids of the row; remembers the ids of every call."""

    def __init__(self, sharpness=1.0):
        generator = torch.Generator().manual_seed(0)
        self.position = torch.randn(ROW, CODES, generator=generator, dtype=torch.float64) * sharpness
        self.id = torch.randn(CODES + 3, ROW, CODES, generator=generator, dtype=torch.float64) * sharpness
        self.calls = []

    def __call__(self, ids):
        self.calls.append(ids.clone())
        return torch.stack([self.position + self.id[row].mean(dim=0) for row in ids])


def generators(seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def empty(lengths):
    lengths = torch.as_tensor(lengths)
    return make_rows(torch.full((len(lengths), ROW), MASK), lengths, CODES, ROW), lengths


def partly_given(lengths, seed=0):
    """Rows of which about half the motion ids are given."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.as_tensor(lengths)
    ids = torch.randint(CODES, (len(lengths), ROW), generator=generator)
    ids[torch.rand(ids.shape, generator=generator) < 0.5] = MASK
    return make_rows(ids, lengths, CODES, ROW), lengths


def plain_sample(logits_fn, row, length, steps):
    """The published loop at temperature 0 for one row of L tokens: all `steps` iterations, lists and sorting."""
    ids, rounds = list(row), max(1, round(steps * length / 49))
    fill = [i for i, value in enumerate(row) if value == MASK]
    score = {i: 1.0 if i in fill else 0.0 for i in range(len(row))}
    for t in range(steps):
        share = torch.cos(torch.tensor(math.pi / 2 * min(t / rounds, 1))).item()
        count = max(1, math.floor(share * len(fill)))
        chosen = sorted(fill, key=lambda i: -score[i])[:count]
        for i in chosen:
            ids[i] = MASK
        logits = logits_fn(torch.tensor([ids]))[0]
        score = dict.fromkeys(range(len(row)), 0.0)
        for i in chosen:
            weights = [math.exp(x) for x in logits[i].tolist()]
            ids[i] = max(range(len(weights)), key=weights.__getitem__)
            score[i] = 1 - weights[ids[i]] / sum(weights)
    return ids


@pytest.fixture
def networks(shared):
    return load_transformer(shared / "golden/A/trans_net_last.pth"), load_vqvae(shared / "golden/A/vq_net_last.pth")


def golden_case(golden, case):
    lengths = token_count(golden["trans.lengths_frames"])
    given = make_rows(torch.full((4, 50), mask_id(48)), lengths, 48, 50)
    if case == "inpaint":
        given = golden["inpaint.token_cond"]
        lengths = (given == 48).float().argmax(dim=1)
    return given, lengths, (golden[f"{case}.text_sentence"], golden[f"{case}.text_words"])


@pytest.mark.parametrize("case", ["trans", "inpaint"])
def test_golden_greedy_samples(golden, networks, case):
    given, lengths, text = golden_case(golden, case)
    ids = sample(lambda ids: networks[0](ids, *text), given, lengths, 48, temperature=0)
    assert torch.equal(ids, golden[f"{case}.sample_greedy"])


@pytest.mark.parametrize("row", range(4))
def test_golden_greedy_sample_of_a_row_alone(golden, networks, row):
    given, lengths, text = golden_case(golden, "trans")
    one = slice(row, row + 1)
    text = [part[one] for part in text]
    ids = sample(lambda ids: networks[0](ids, *text), given[one], lengths[one], 48, temperature=0)
    assert torch.equal(ids, golden["trans.sample_greedy"][one])


@torch.no_grad()
def test_golden_motion_of_golden_samples(golden, networks):
    lengths = token_count(golden["trans.lengths_frames"])
    motion = networks[1].decode(golden["trans.sample_greedy"], 4 * lengths)
    for row, frames in zip(range(4), (4 * lengths).tolist()):
        expected = golden[f"trans.motion.{row}"]
        assert expected.shape == (1, frames, 263)
        assert (motion[row, :frames] - expected[0]).abs().max() < 1e-4
        assert (motion[row, frames:] == 0).all()


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("rows", [empty, partly_given])
def test_greedy_samples_are_those_of_the_plain_loop(rows, steps):
    given, lengths = rows([1, 2, 3, 7, 12, 20, 33, 49])
    ids = sample(Mock(), given, lengths, CODES, steps, temperature=0)
    for row, start, length in zip(ids.tolist(), given.tolist(), lengths.tolist()):
        assert row == plain_sample(Mock(), start, length, steps)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 10, 20])
def test_every_mask_is_filled_for_every_length(steps, temperature):
    given, lengths = empty(range(1, 50))
    ids = sample(Mock(), given, lengths, CODES, steps, temperature)
    motion = length_mask(lengths, ROW)
    assert (ids[motion] < CODES).all() and (ids[motion] >= 0).all()
    assert torch.equal(ids[~motion], given[~motion])  # END and PAD stay


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("sharpness", [1.0, 1e4])  # at 1e4 every pick has confidence 1, so no score tells it from given
def test_given_ids_never_change(temperature, sharpness):
    given, lengths = partly_given(range(1, 50))
    start, mock = given.clone(), Mock(sharpness)
    ids = sample(mock, given, lengths, CODES, temperature=temperature)
    assert torch.equal(given, start)  # the caller's tensor
    free = start == MASK
    assert (ids[free] < CODES).all()
    for seen in (ids, *mock.calls):  # nor does the model ever see them otherwise
        assert torch.equal(seen[~free], start[~free])


def test_nothing_to_fill_calls_nothing():
    given, lengths = partly_given([5, 49])
    given[given == MASK] = 3
    mock = Mock()
    assert torch.equal(sample(mock, given, lengths, CODES), given)
    assert not mock.calls


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("rows", [empty, partly_given])
def test_a_row_does_not_depend_on_its_batch(rows, temperature):
    given, lengths = rows([3, 49, 1, 20, 48, 9])
    together = sample(Mock(), given, lengths, CODES, temperature=temperature, generators=generators(range(6)))
    for i in range(6):
        one = slice(i, i + 1)
        alone = sample(Mock(), given[one], lengths[one], CODES, temperature=temperature, generators=generators([i]))
        assert torch.equal(alone, together[one])
    order = [4, 0, 2]
    others = sample(Mock(), given[order], lengths[order], CODES, temperature=temperature, generators=generators(order))
    assert torch.equal(others, together[order])


@pytest.mark.parametrize("steps", [1, 10, 20])
def test_number_of_calls(steps):
    def calls(lengths):
        mock = Mock()
        sample(mock, *empty(lengths), CODES, steps)
        return len(mock.calls)

    expected = [min(steps, max(1, round(steps * length / 49)) + 1) for length in range(1, 50)]
    assert [calls([length]) for length in range(1, 50)] == expected
    assert calls([1, 49, 20]) == max(expected[0], expected[48], expected[19])


@pytest.mark.parametrize("rows", [empty, partly_given])
@pytest.mark.parametrize("length", [7, 20, 49])
def test_the_model_sees_fewer_masks_each_time_and_only_fresh_picks_again(rows, length):
    given, lengths = rows([length])
    mock = Mock()
    sample(mock, given, lengths, CODES)
    seen = [ids[0] == MASK for ids in mock.calls]
    assert torch.equal(seen[0], given[0] == MASK)
    for before, after in zip(seen, seen[1:]):
        assert not (after & ~before).any()
    counts = [masks.sum().item() for masks in seen]
    rounds = rounds_of(length, 10)
    assert counts == [masked_count(t, rounds, counts[0]) for t in range(len(counts))]


def test_confidence_is_that_of_the_model_whatever_the_temperature():
    """Picks are uniform at this temperature; those that are kept are still the ones the model finds likely."""
    mock = Mock(2.0)
    sample(mock, *empty([49]), CODES, temperature=1e12)
    kept = []
    for before, after in zip(mock.calls, mock.calls[1:]):
        chance = Mock(2.0)(before)[0].softmax(dim=-1)
        position = ((before[0] == MASK) & (after[0] != MASK)).nonzero()[:, 0]
        kept += chance[position, after[0, position]].tolist()
    assert len(kept) == 49 - 7 and sum(kept) / len(kept) > 2 / CODES  # the last call still has 7 MASK


def test_schedule_falls_from_all_to_one_along_a_quarter_cosine():
    for rounds in range(1, 21):
        for fill in (1, 2, 13, 49):
            counts = [masked_count(t, rounds, fill) for t in range(rounds + 3)]
            assert counts[0] == fill and counts[rounds:] == [1, 1, 1]
            assert counts == sorted(counts, reverse=True)
            for t, count in enumerate(counts[:rounds]):
                exact = math.cos(math.pi / 2 * t / rounds) * fill
                if abs(exact - round(exact)) > 1e-4:  # single precision decides where it is whole
                    assert count == max(1, math.floor(exact))


def test_rounds_are_in_proportion_to_the_length():
    assert [rounds_of(length, 10) for length in (1, 2, 8, 25, 44, 49)] == [1, 1, 2, 5, 9, 10]
    assert rounds_of(49, 20) == 20


def test_seeds():
    given, lengths = empty([49, 49, 30])

    def ids(*seeds, **options):
        return sample(Mock(0.3), given, lengths, CODES, generators=generators(seeds) if seeds else None, **options)

    first = ids(5, 6, 7)
    torch.rand(3)  # the global generator has no say
    assert torch.equal(first, ids(5, 6, 7))
    other = ids(5, 8, 7)
    assert torch.equal(first[[0, 2]], other[[0, 2]]) and not torch.equal(first[1], other[1])
    assert not torch.equal(first[0], first[1])  # rows of one length with seeds of their own
    assert torch.equal(ids(), ids(0, 1, 2))  # the default
    greedy = ids(temperature=0.0)
    assert torch.equal(greedy, ids(9, 9, 9, temperature=0.0)) and torch.equal(greedy[0], greedy[1])


def test_a_vanishing_temperature_is_greedy():
    given, lengths = empty([49, 7])
    cold = sample(Mock(), given, lengths, CODES, temperature=1e-6)
    assert torch.equal(cold, sample(Mock(), given, lengths, CODES, temperature=0))
    assert not torch.equal(cold, sample(Mock(), given, lengths, CODES, temperature=1.0))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_picks_follow_the_softmax(temperature):
    rows = 4000
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, 0.2])
    given, lengths = torch.full((rows, 1), 8), torch.ones(rows, dtype=torch.long)
    ids = sample(
        lambda ids: logits.expand(len(ids), 1, 6),
        given, lengths, 6, temperature=temperature, generators=generators(range(1000, 1000 + rows)),
    )  # fmt: skip
    observed = ids.flatten().bincount(minlength=6)
    expected = rows * (logits / temperature).softmax(dim=0)
    assert ((observed - expected).square() / expected).sum() < 20.5  # chi-square, 5 degrees: one seed in a thousand


@pytest.mark.parametrize("temperature", [-1e-3, -1.0])
def test_a_negative_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        sample(Mock(), *empty([5]), CODES, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_logits_that_are_not_numbers_end_nothing(temperature):
    """Of a model that went astray in training: ids all the same."""
    given, lengths = empty([49, 7])
    ids = sample(lambda ids: torch.full((*ids.shape, CODES), torch.nan), given, lengths, CODES, temperature=temperature)
    assert (ids[length_mask(lengths, ROW)] < CODES).all()


def test_what_is_sure_is_not_made_again():
    """Confidence of exactly 1 in what was just filled in: only fresh picks may be masked all the same."""
    given, lengths = empty([20])
    calls = []

    def sure(ids):
        calls.append((ids == MASK).sum().item())
        return torch.nn.functional.one_hot(torch.arange(ROW) % CODES, CODES).float()[None] * 1e6

    ids = sample(sure, given, lengths, CODES)
    assert calls == [masked_count(t, rounds_of(20, 10), 20) for t in range(len(calls))]
    assert ids[0, :20].tolist() == [i % CODES for i in range(20)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("rows", [empty, partly_given])
def test_logits_at_picks_alone_are_enough(rows, temperature):
    given, lengths = rows([3, 49, 1, 20, 48, 9])
    whole, sizes = sample(Mock(), given, lengths, CODES, temperature=temperature), []

    def at_picks(ids, picks):
        sizes.append((len(ids), len(picks.row)))
        assert (ids[picks.row, picks.position] == MASK).all() and (ids == MASK).sum() == len(picks.row)
        return Mock()(ids)[picks.row, picks.position]

    found = sample(at_picks, given, lengths, CODES, temperature=temperature, at_picks=True)
    assert torch.equal(found, whole)
    assert sizes[-1][0] < sizes[0][0], "rows that are done are left out"


# --- Chance in the order


def test_order_noise_changes_which_ids_stay():
    """Not at nought; and with much of it, which ids stay after the first round has nothing to do with confidence."""
    given, lengths = empty([40] * 60)
    calls = {}
    for noise in (None, 0.0, 1000.0):
        calls[noise] = Mock(sharpness=3.0)
        more = {} if noise is None else {"order_noise": noise}
        sample(calls[noise], given, lengths, CODES, 10, 1.0, generators(range(60)), **more)
    plain, none, much = (calls[noise].calls for noise in (None, 0.0, 1000.0))
    assert all(torch.equal(a, b) for a, b in zip(plain, none))
    assert torch.equal(plain[0], much[0])
    kept, kept_by_chance = ((call[1][:, :40] != MASK).float().mean(dim=0) for call in (plain, much))
    assert kept.std() > 2 * kept_by_chance.std() and kept_by_chance.max() < 0.3


def test_order_noise_row_by_row():
    """A row is what it is alone; what is given stays, and everything else is filled in."""
    given, lengths = partly_given([40, 12, 25])
    together = sample(Mock(), given, lengths, CODES, 10, 1.0, generators([5, 6, 7]), order_noise=3.0)
    assert torch.equal(together[given != MASK], given[given != MASK]) and (together != MASK).all()
    for i in range(3):
        alone = sample(
            Mock(), given[i : i + 1], lengths[i : i + 1], CODES, 10, 1.0, generators([5 + i]), order_noise=3.0
        )
        assert torch.equal(alone[0], together[i])
    with pytest.raises(ValueError, match="noise of the order"):
        sample(Mock(), given, lengths, CODES, order_noise=-1.0)
