"""What `sample` asks at every step: logits where picks are due, of rows guided by sentences.

Axes: B rows of the batch, R of them that are not done, n picks, G sentences of a row, L ids, E width, K codes.
"""

from torch import Tensor

from models.ids import pad_id, predicted, with_predicted
from models.replay import Replayed
from models.sampling import Picks
from models.text_encoder import TextFeatures
from models.transformer import MaskedTransformer


class Guided:
    """Takes ids [R, L] of rows that are not done and `Picks`, gives float32 logits [n, K].

    A row may follow several sentences alike, the mean of their logits, and more closely than the model by itself would:
    nothing + scale x (mean - nothing), where "nothing" is the empty sentence. All of them go through the transformer as
    one batch, its keys and values of the words made here, once; `head` looks at the picks alone.
    """

    def __init__(
        self, transformer: MaskedTransformer, rows: Tensor, text: TextFeatures, sentences: Tensor, scale: float | None,
        replayed: Replayed | None = None,
    ):  # fmt: skip
        """rows [B, L] or [B, L, parts]: what is given. text: features of the different sentences, which `sentences`
        [G, B] names; with a scale its last row is that of nothing. replayed: the transformer's features as a graph.
        """
        self.transformer, self.rows, self.sentences, self.scale = transformer, rows, sentences, scale
        self.features = replayed or transformer.features
        self.condition = transformer.condition(*text)
        visible = predicted(rows) != pad_id(transformer.config.codes)  # [B, L]
        self.visible = None if visible.all() else visible
        self.going = None  # the condition and the ids that exist of the rows that go on

    def __call__(self, ids: Tensor, picks: Picks) -> Tensor:
        groups, going = len(self.sentences), len(picks.rows)
        if self.going is None or groups * going != len(self.going[0].sentence):  # rows end, and none comes back
            visible = None if self.visible is None else self.visible[picks.rows].repeat(groups, 1)
            self.going = self.condition.select(self.sentences[:, picks.rows].flatten()), visible
        ids = with_predicted(self.rows[picks.rows], ids)
        ids = ids.repeat(groups, *(1 for _ in ids.shape[1:]))
        x = self.features(ids, *self.going).unflatten(0, (groups, going))  # [G, R, L, E]
        logits = self.transformer.head(x[:, picks.row, picks.position]).float()  # [G, n, K]
        if self.scale is None:
            return _mean(logits)
        nothing = logits[-1]
        return nothing + self.scale * (_mean(logits[:-1]) - nothing)


def _mean(logits: Tensor) -> Tensor:
    """[n, K] of logits [G, n, K]; of one sentence they are what they are, and not copied."""
    return logits[0] if len(logits) == 1 else logits.mean(dim=0)
