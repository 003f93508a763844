"""Editing the upper body alone: the lower body is given, a sentence says what the upper does (spec/model.md 4).

Axes: B motions, T frames, L tokens, D features (in the dataset's space, not normalised).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.edits import Edit, Edited, check_edit
from models.ids import mask_id, predicted, token_count, with_predicted
from models.pipeline import PRETRAINED, MotionPipeline, generator_of
from utils.motion import features_to_joints

HOW_TO_TRAIN = (
    "train_vq.py --sep-uplow and train_t2m_trans.py --sep-uplow make the upper-body models: give theirs with "
    "--resume-pth and --resume-trans"
)


def load_upper_body(
    vq: str | Path | None = None, trans: str | Path | None = None, device: str = "auto", precision: str = "32",
    dataname: str | None = None, clip_model: str | None = None, order_noise: float | None = None,
) -> MotionPipeline:  # fmt: skip
    """The pipeline of an upper-body tokenizer and transformer, for `edit_upper`; without files, of those that ship.

    Raises ValueError as `MotionPipeline.load` does; for files that do not ship it says how such are made.
    """
    for path, default in ((vq, "vq_upper.pth"), (trans, "trans_upper.pth")):
        if not path and not (PRETRAINED / default).is_file():
            raise ValueError(f"there is no {PRETRAINED.name}/{default}: {HOW_TO_TRAIN}")
    vq, trans = vq or PRETRAINED / "vq_upper.pth", trans or PRETRAINED / "trans_upper.pth"
    return MotionPipeline.load(vq, trans, device, None, precision, dataname, clip_model, 2, order_noise)


@dataclass(frozen=True)
class UpperEdit:
    """What is asked for: a motion's upper body made anew."""

    features: np.ndarray  # [T, D]
    text: str = ""
    sample: int = 0  # another number, another result


def check_upper_edit(edit: UpperEdit, pipeline: MotionPipeline) -> None:
    """ValueError for a motion that cannot be edited: of another skeleton, not finite, too short, or too long."""
    frames = len(edit.features)
    check_edit(Edit(edit.features, ((0, frames),) if frames else ()), pipeline)
    pipeline.check_lengths([frames])


@torch.no_grad()
def edit_upper(
    pipeline: MotionPipeline, edits: Sequence[UpperEdit], seed: int = 0, temperature: float = 1.0,
    cfg_scale: float | None = None, steps: int | None = None, lower_mask: float | None = None,
) -> list[Edited]:  # fmt: skip
    """Each motion with its upper body made anew, guided by its sentence and by what its lower body does.

    The lower body's ids stay the motion's: it comes back as the tokenizer renders it, feet and root included, and the
    source's upper body has no influence. A share `lower_mask` of the lower ids is hidden from the transformer, which
    then follows the legs less; what is decoded is the motion's own all the same. None takes the model's usual one, of
    cfg_scale, steps and lower_mask; without a sentence no lower ids are hidden then. The results' ids are [L, 2],
    upper and lower, and no frames are marked as made.

    A result depends on its edit and the seed alone, not on the others. Raises ValueError for a pipeline of the whole
    body, a share that is none, and as `check_upper_edit` does.
    """
    if pipeline.transformer.config.parts == 1:
        raise ValueError("the upper body alone needs the pipeline of load_upper_body")
    if lower_mask is not None and not 0 <= lower_mask <= 1:
        raise ValueError(f"lower_mask is a share from 0 to 1, not {lower_mask}")
    for edit in edits:
        check_upper_edit(edit, pipeline)
    tokenizer, spec, unit = pipeline.tokenizer, pipeline.spec, pipeline.tokenizer.config.frames_per_token
    results: list[Edited | None] = [None] * len(edits)
    tokens = [token_count(len(edit.features), unit) for edit in edits]
    for chosen in pipeline.batches(tokens, [edit.text for edit in edits]):
        rows = [torch.as_tensor(np.asarray(edits[i].features), dtype=torch.float32) for i in chosen]
        frames = torch.tensor([len(row) for row in rows], device=pipeline.device)
        motion = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(pipeline.device)
        ids = tokenizer.encode(tokenizer.normalise(motion), frames)  # [B, L, 2]
        lengths = token_count(frames, unit)
        given, generators = ids.clone(), []
        given[..., 0] = mask_id(tokenizer.config.codes)
        for i, row, length in zip(chosen, given, lengths.tolist()):
            # of what is left of the motion, the lower ids: another upper body in the source draws the same
            key = f"{seed}|{edits[i].sample}|{edits[i].text}|{row[:length, 1].tolist()}"
            generators.append(generator_of(key))
            hidden = lower_mask if lower_mask is not None else pipeline.lower_mask if edits[i].text else 0.0
            row[_some(length, hidden, generators[-1]), 1] = mask_id(tokenizer.config.codes)
        texts = [edits[i].text for i in chosen]
        filled = pipeline.fill_ids(given, lengths, [texts], generators, temperature, cfg_scale, steps)
        ids = with_predicted(ids, predicted(filled))
        decoded = tokenizer.denormalise(tokenizer.decode(ids, frames)).cpu()
        for i, row, row_ids, length in zip(chosen, decoded, ids.cpu(), lengths.tolist()):
            features = row[: len(edits[i].features)]
            joints = features_to_joints(features, spec).numpy() * spec.metres_per_unit
            results[i] = Edited(edits[i].text, features.numpy(), joints, row_ids[:length].numpy(), (), spec.fps)
    return results


def _some(length: int, share: float, generator: torch.Generator) -> Tensor:
    """Positions of a share of `length` ids, drawn at random."""
    return torch.randperm(length, generator=generator)[: round(share * length)]
