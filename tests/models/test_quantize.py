"""The quantizer: nearest code, gradients, and how each kind's codebook learns, against plain loops."""

import pytest
import torch
from torch.nn import functional as F

from models.quantize import QUANTIZERS, RESET_EVERY, Quantizer, perplexity

FAR = 100.0


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def started(kind, codebook, counts=None, mu=0.99, beta=1.0):
    """A quantizer in training whose codebook is given, as if just after a reset."""
    quantizer = Quantizer(kind, *codebook.shape, mu=mu, beta=beta)
    counts = torch.ones(len(codebook)) if counts is None else counts
    with torch.no_grad():
        quantizer.codebook.copy_(codebook)
        quantizer.code_sum.copy_(codebook * counts[:, None])
        quantizer.code_count.copy_(counts)
        quantizer.updates.fill_(RESET_EVERY)
    return quantizer.train()


def near_and_far(kind, counts=None):
    """Two codes: one among the data, one that nothing falls to."""
    return started(kind, torch.tensor([[0.0, 0.0], [FAR, FAR]]), counts)


def test_nearest_is_the_brute_force_minimum():
    quantizer = started("ema", normal(40, 6, seed=1) * 3 + 1)
    z = normal(5, 30, 6, seed=2) * 3
    expected = torch.cdist(z.flatten(0, 1).double(), quantizer.codebook.double()).argmin(dim=1)
    assert torch.equal(quantizer.nearest(z).flatten(), expected)


def test_a_code_is_nearest_to_itself():
    quantizer = started("orig", normal(40, 6))
    ids = torch.arange(40).view(8, 5)
    assert torch.equal(quantizer.nearest(quantizer.lookup(ids)), ids)


def test_distances_are_computed_in_full_precision():
    """Two codes that half precision cannot tell apart."""
    quantizer = started("ema", torch.tensor([[1.0, 100.0], [1.001, 100.0]]))
    z = torch.tensor([[1.0, 100.0], [2.0, 100.0]])
    assert quantizer.nearest(z.bfloat16()).tolist() == [0, 1]


def test_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="emma"):
        Quantizer("emma", 4, 2)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_output_is_the_code_and_its_gradient_passes_straight_to_z(kind):
    quantizer = started(kind, normal(8, 4, seed=3))
    before = quantizer.codebook.detach().clone()
    z = normal(50, 4, seed=4).requires_grad_()
    code, _, ids = quantizer(z)
    assert torch.allclose(code, before[ids], atol=1e-6)
    assert torch.equal(ids, torch.cdist(z, before).argmin(dim=1))
    gradient = normal(50, 4, seed=5)
    code.backward(gradient)
    assert torch.equal(z.grad, gradient)
    assert quantizer.codebook.grad is None


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_nothing_is_learned_outside_training(kind):
    quantizer = started(kind, normal(8, 4)).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(normal(50, 4, seed=1))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


@pytest.mark.parametrize("kind", ["ema", "ema_reset"])
def test_ema_loss_is_the_commitment(kind):
    quantizer = started(kind, normal(8, 4, seed=6))
    before = quantizer.codebook.clone()
    z = normal(30, 4, seed=7).requires_grad_()
    _, loss, ids = quantizer(z)
    gap = z.detach() - before[ids]
    assert loss.item() == pytest.approx(gap.square().mean().item(), rel=1e-6)
    loss.backward()
    assert torch.allclose(z.grad, 2 * gap / gap.numel(), atol=1e-7)


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_orig_loss_and_who_it_moves(beta):
    """mse(code, sg(z)) moves the codes alone, beta mse(sg(code), z) the encoder alone."""
    quantizer = started("orig", normal(8, 4, seed=8), beta=beta)
    z = normal(30, 4, seed=9).requires_grad_()
    _, loss, ids = quantizer(z)
    gap = (z - quantizer.codebook[ids]).detach()
    assert loss.item() == pytest.approx((1 + beta) * gap.square().mean().item(), rel=1e-6)
    loss.backward()
    assert torch.allclose(z.grad, beta * 2 * gap / gap.numel(), atol=1e-7)
    expected = torch.zeros(8, 4)
    for row, code in zip(gap, ids.tolist()):
        expected[code] -= 2 * row / gap.numel()
    assert torch.allclose(quantizer.codebook.grad, expected, atol=1e-6)


def test_ema_follows_the_running_mean_of_each_code():
    mu, counts = 0.9, torch.tensor([1.0, 2.0, 0.5, 4.0, 1.0])
    quantizer = started("ema", normal(5, 3, seed=10), counts, mu=mu)
    codes = quantizer.codebook.tolist()
    sums = [[x * count for x in code] for code, count in zip(codes, counts.tolist())]
    counts = counts.tolist()
    for step in range(6):
        z = normal(20, 3, seed=100 + step)
        quantizer(z)
        nearest = [min(range(5), key=lambda k, v=v: sum((a - b) ** 2 for a, b in zip(v, codes[k]))) for v in z.tolist()]
        for k in range(5):
            mine = [v for v, n in zip(z.tolist(), nearest) if n == k]
            counts[k] = mu * counts[k] + (1 - mu) * len(mine)
            sums[k] = [mu * sums[k][c] + (1 - mu) * sum(v[c] for v in mine) for c in range(3)]
            codes[k] = [total / counts[k] for total in sums[k]]
        assert torch.allclose(quantizer.codebook, torch.tensor(codes), atol=1e-5)
        assert torch.allclose(quantizer.code_count, torch.tensor(counts), atol=1e-5)


@pytest.mark.parametrize("kind", ["ema_reset", "reset"])
def test_an_unused_code_is_replaced_by_an_encoder_output_and_stays(kind):
    quantizer = near_and_far(kind, torch.tensor([1.0, 0.9]))
    for update in range(RESET_EVERY):
        assert (quantizer.codebook[1] - FAR).abs().max() < 1e-3, f"moved before update {update}"
        z = normal(32, 2, seed=update) * 0.1
        quantizer(z, torch.Generator().manual_seed(update))
    assert not quantizer.used.any()
    replaced = quantizer.codebook[1].detach().clone()
    assert (z == replaced).all(dim=1).any()
    for _ in range(RESET_EVERY - 1):  # nothing falls to it, so it does not move
        _, _, ids = quantizer(quantizer.codebook[:1].detach().expand(32, -1).clone())
        assert (ids == 0).all()
        assert torch.allclose(quantizer.codebook[1], replaced, atol=1e-5)


def test_a_used_code_is_not_replaced():
    """The code that all data fall to learns as if nothing were ever reset."""
    resetting, plain = near_and_far("ema_reset"), near_and_far("ema")
    for update in range(RESET_EVERY):
        z = normal(32, 2, seed=update) * 0.1
        resetting(z)
        plain(z)
    assert torch.equal(resetting.codebook[0], plain.codebook[0])
    assert not torch.allclose(resetting.codebook[1], plain.codebook[1])


def test_used_once_in_the_last_twenty_updates_is_used():
    """Its running count is over 1 at first only: it is spared by the next reset, not by the one after."""
    quantizer = near_and_far("ema_reset", torch.tensor([1.0, 1.02]))
    z = normal(32, 2) * 0.1
    for _ in range(RESET_EVERY):
        quantizer(z)
    assert quantizer.code_count[1] < 1
    assert (quantizer.codebook[1] - FAR).abs().max() < 1e-3
    for _ in range(RESET_EVERY):
        quantizer(z)
    assert quantizer.codebook[1].abs().max() < 1


@pytest.mark.parametrize("kind", ["ema", "orig"])
def test_the_kinds_without_reset_never_replace(kind):
    quantizer = near_and_far(kind)
    for update in range(3 * RESET_EVERY):
        quantizer(normal(32, 2, seed=update) * 0.1)
    assert (quantizer.codebook[1] - FAR).abs().max() < 1e-2


@pytest.mark.parametrize("kind", ["ema", "ema_reset", "reset"])
def test_first_batch_becomes_the_codebook(kind):
    quantizer = Quantizer(kind, 16, 3, mu=1.0).train()  # mu 1: the first update leaves it
    z = normal(50, 3, seed=11) * 5
    quantizer(z, torch.Generator().manual_seed(0))
    equal = (quantizer.codebook[:, None] == z).all(dim=-1)  # [K, N]
    assert (equal.sum(dim=1) == 1).all() and equal.sum(dim=0).max() == 1  # as many different outputs as codes
    first = quantizer.codebook.detach().clone()
    quantizer(normal(50, 3, seed=12), torch.Generator().manual_seed(1))
    assert torch.equal(quantizer.codebook, first)  # once


def test_orig_begins_with_the_table_it_was_made_with():
    quantizer = Quantizer("orig", 16, 3).train()
    table = quantizer.codebook.detach().clone()
    quantizer(normal(50, 3))
    assert torch.equal(quantizer.codebook, table) and table.abs().max() <= 1 / 16


@pytest.mark.parametrize("kind", ["ema", "ema_reset", "reset"])
def test_a_first_batch_smaller_than_the_codebook_is_tiled_with_noise(kind):
    width, codes, vectors = 4, 300, 100
    quantizer = Quantizer(kind, codes, width, mu=1.0).train()
    z = normal(vectors, width, seed=13) * 100
    quantizer(z, torch.Generator().manual_seed(0))
    distance, source = torch.cdist(quantizer.codebook.detach().double(), z.double()).min(dim=1)
    assert (source.bincount(minlength=vectors) == codes // vectors).all()
    noise = (quantizer.codebook - z[source]).detach()
    assert noise.std().item() == pytest.approx(0.01 / width**0.5, rel=0.1)
    assert distance.min() > 0


def test_first_batch_and_replacement_follow_the_generator():
    def learned(seed):
        quantizer, generator = Quantizer("ema_reset", 16, 3).train(), torch.Generator().manual_seed(seed)
        for update in range(RESET_EVERY):
            quantizer(normal(40, 3, seed=update), generator)
        return quantizer.codebook

    assert torch.equal(learned(0), learned(0))
    assert not torch.equal(learned(0), learned(1))


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_every_kind_learns_clusters(kind):
    """The distance to the nearest code falls well below that of the first codebook."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    centres = normal(8, 4, seed=14)
    quantizer = Quantizer(kind, 16, 4, mu=0.9).train()
    optimiser = torch.optim.Adam(quantizer.parameters(), lr=0.02) if quantizer.by_gradient else None
    held_out = centres.repeat(50, 1) + 0.1 * normal(400, 4, seed=15)

    def error():
        return F.mse_loss(quantizer.lookup(quantizer.nearest(held_out)), held_out).item()

    errors = []
    for step in range(150):
        z = centres[torch.randint(8, (64,), generator=generator)]
        z = z + 0.1 * torch.randn(z.shape, generator=generator)
        _, loss, _ = quantizer(z if step else z[:4], generator)  # the first batch shows four points only
        if optimiser:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        errors.append(error())
    assert errors[-1] < 0.6 * errors[0]


def test_perplexity_of_known_shares():
    assert perplexity(torch.arange(32), 32).item() == pytest.approx(32, rel=1e-5)
    assert perplexity(torch.arange(8).repeat(3), 32).item() == pytest.approx(8, rel=1e-5)
    assert perplexity(torch.full((4, 5), 7), 32).item() == pytest.approx(1, rel=1e-6)
    assert perplexity(torch.tensor([[0, 0], [1, 2]]), 3).item() == pytest.approx(2**1.5, rel=1e-5)
