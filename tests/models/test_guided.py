"""What sampling asks of the transformer is what a plain call of it gives."""

import pytest
import torch

from models.guided import Guided
from models.ids import make_rows, mask_id
from models.sampling import Picks, sample
from tests.tiny import tiny_text_encoder, tiny_transformer, tiny_upper_vq, tiny_vq

TEXTS = ["a person walks", "someone waves with the left hand", ""]
LENGTHS = torch.tensor([12, 3, 7])
CODES, MASK = 16, mask_id(16)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def rows(seed=0):
    """Ids [3, 13], some of them MASK."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(CODES, (3, 12), generator=generator)
    return make_rows(ids.masked_fill(torch.rand(3, 12, generator=generator) < 0.5, MASK), LENGTHS, CODES, 13)


def plain(model, ids, texts):
    """Logits of each row by itself, cut to its length and its sentence to its own words."""
    found = torch.zeros(3, 13, CODES)
    for row, text, length in zip(range(3), texts, LENGTHS.tolist()):
        read = tiny_text_encoder()([text])
        found[row, :length] = model(ids[row : row + 1, : length + 1], read.sentence, read.words)[0, :length]
    return found


@pytest.mark.parametrize("scale", [None, 0.0, 3.0])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("going", [[0, 1, 2], [0, 2], [1]])
def test_logits_at_picks(scale, second, going):
    model, ids = tiny_transformer(tiny_vq()), rows()
    guides = [[0, 1, 0], [1, 2, 2]] if second else [[0, 1, 0]]
    guides += [[2, 2, 2]] if scale is not None else []
    guided = Guided(model, rows(1), tiny_text_encoder()(TEXTS), torch.tensor(guides), scale)
    row, position = torch.tensor([0, 0, len(going) - 1]), torch.tensor([2, 0, 1])
    logits = [plain(model, ids, [TEXTS[i] for i in texts]) for texts in guides]
    wanted = logits[0] if not second else (logits[0] + logits[1]) / 2
    wanted = wanted if scale is None else logits[-1] + scale * (wanted - logits[-1])
    picks = Picks(torch.tensor(going), row, position)
    for _ in range(2):  # the second time from what is held
        found = guided(ids[going], picks)
        assert found.dtype == torch.float32
        assert torch.allclose(found, wanted[going][row, position], atol=1e-4)


def test_rows_that_end():
    """The same samples with rows left out as they end, and with all of them at every step."""
    model, text = tiny_transformer(tiny_vq()), tiny_text_encoder()(TEXTS)
    given = make_rows(torch.full((3, 12), MASK), LENGTHS, CODES, 13)
    asked = []

    class Noted(Guided):
        def __call__(self, ids, picks):
            asked.append(len(ids))
            return super().__call__(ids, picks)

    guided = Noted(model, given, text, torch.tensor([[0, 1, 2]]), None)
    for temperature in (0.0, 1.0):
        found = sample(guided, given, LENGTHS, CODES, 40, temperature, at_picks=True)
        whole = sample(
            lambda ids: model(ids, *text[:2], word_mask=text.mask), given, LENGTHS, CODES, 40, temperature
        )  # fmt: skip
        assert torch.equal(found, whole)
    assert asked[0] == 3 and asked[-1] == 1


def test_the_lower_body_is_given():
    tokenizer = tiny_upper_vq()
    model, text = tiny_transformer(tokenizer), tiny_text_encoder()(TEXTS)
    upper, lower = rows(0), rows(1)
    guided = Guided(model, torch.stack((rows(2), lower), dim=-1), text, torch.tensor([[0, 1, 2]]), None)
    picks = Picks(torch.arange(3), torch.tensor([0, 1, 2]), torch.tensor([3, 2, 0]))
    wanted = model(torch.stack((upper, lower), dim=-1), text.sentence, text.words, word_mask=text.mask)
    assert torch.allclose(guided(upper, picks), wanted[picks.row, picks.position], atol=1e-4)
