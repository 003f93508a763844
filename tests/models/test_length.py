"""The length model: its median, its loss, and that it learns."""

import pytest
import torch

from models.length import LengthConfig, LengthModel, length_checkpoint, length_loss, load_length_model
from models.text_encoder import LearnedTextConfig, LearnedTextEncoder, build_vocabulary
from tests.tiny import CAPTIONS, tiny_length_model, tiny_vq
from utils.checkpoint import load_checkpoint, save_checkpoint


class Fixed(LengthModel):
    """A length model that says the logits it is given."""

    def __init__(self, logits):
        torch.nn.Module.__init__(self)
        self.logits = logits

    def forward(self, texts):
        return self.logits.clone()


def median(logits, least):
    """The smallest count from `least` up at or below which half of the distribution lies."""
    share = [float(x) for x in logits.double()[least - 1 :].softmax(dim=0)]
    total = 0.0
    for count, part in enumerate(share, start=least):
        total += part
        if total >= 0.5:
            return count
    raise AssertionError


@pytest.mark.parametrize("least", [1, 2, 10, 49])
def test_the_median(least):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 49, generator=generator)
    found = Fixed(logits).predict(["..."] * 200, least)
    assert found.tolist() == [median(row, least) for row in logits]
    assert found.min() >= least and found.max() <= 49


def test_the_median_of_certain_ones():
    certain = torch.full((49, 49), -30.0).fill_diagonal_(30.0)
    assert Fixed(certain).predict([""] * 49).tolist() == list(range(1, 50))
    assert Fixed(certain).predict([""] * 49, 10)[9:].tolist() == list(range(10, 50))


def test_least_is_respected_by_the_network():
    model = tiny_length_model()
    for least in (1, 10, 49):
        found = model.predict([*CAPTIONS, ""], least)
        assert found.shape == (len(CAPTIONS) + 1,) and found.min() >= least and found.max() <= 49


@pytest.mark.parametrize("truth", [1, 7, 30, 49])
def test_loss_is_least_at_the_truth(truth):
    counts = torch.arange(1, 50)
    said = -0.5 * (counts - counts[:, None]) ** 2.0  # a row for each length that could be said
    losses = torch.stack([length_loss(row[None], torch.tensor([truth])) for row in said])
    assert losses.argmin() == truth - 1
    apart = (counts - truth).abs()
    assert (losses[apart == 1] < losses[apart == 3].min()).all(), "a near miss is better than a far one"
    best = said[truth - 1 : truth].clone().requires_grad_()
    length_loss(best, torch.tensor([truth])).backward()
    assert best.grad.abs().max() < 1e-6, "nothing else is better"


def test_loss_is_the_mean_of_the_rows():
    logits = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([1, 20, 5])
    rows = [length_loss(logits[i : i + 1], lengths[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(length_loss(logits, lengths), torch.stack(rows).mean())


def test_learns_a_toy_mapping():
    torch.manual_seed(0)
    wanted = {"a person walks": 8, "a person runs": 3, "a person bows": 15, "a person bows twice": 19}
    texts, lengths = list(wanted), torch.tensor(list(wanted.values()))
    encoder = LearnedTextEncoder(LearnedTextConfig(32, layers=1, heads=2), build_vocabulary(texts))
    model = LengthModel(LengthConfig(20, 32), encoder).train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        length_loss(model(texts), lengths).backward()
        optimizer.step()
    model.eval()
    assert (model.predict(texts) - lengths).abs().max() <= 1
    assert (model.predict([text.replace("person", "man") for text in texts]) - lengths).abs().max() <= 2


# --- Its checkpoint


def test_checkpoint_round_trip(tmp_path):
    model = tiny_length_model(longest=30)
    save_checkpoint(tmp_path / "length.pth", length_checkpoint(model, "bandai"))
    assert load_checkpoint(tmp_path / "length.pth")["dataset"] == "bandai"
    again = load_length_model(tmp_path / "length.pth")
    assert not again.training and again.config == model.config
    with torch.no_grad():
        assert torch.equal(model(CAPTIONS), again(CAPTIONS))


def test_other_files(tmp_path):
    path = tmp_path / "other.pth"
    with pytest.raises(ValueError, match=r"no checkpoint .*other\.pth"):
        load_length_model(path)
    save_checkpoint(path, {"net": tiny_vq().state_dict()})
    with pytest.raises(ValueError, match=r"other\.pth is no length model"):
        load_length_model(path)
    save_checkpoint(path, {**length_checkpoint(tiny_length_model(), "kit"), "length": {}})
    with pytest.raises(ValueError, match=r"other\.pth does not fit: missing"):
        load_length_model(path)
