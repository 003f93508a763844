"""Train the judge of texts and motions, for a dataset that has none published: what evaluation measures by.

    python train_evaluator.py --dataname bandai --exp-name evaluator

Writes OUT_DIR/EXP_NAME: net_last.pth, net_best.pth (highest R-precision top 3 on validation), config.json, run.log and
TensorBoard events.

A text and its motion are pulled together, the mismatched pairs of a batch pushed apart up to a margin. As published,
that includes pairs of clips that do the same: where nothing tells such clips apart, the push against them is outweighed
by the pull, as they are few in a batch; where something does, it is learned. Unlike the published trainer, all
mismatched pairs of a batch count and not one for each text, and the movement encoder learns along with the rest.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from dataset.evaluation import (
    BATCH,
    CLASSES,
    Item,
    batches,
    build_words,
    draw_items,
    embed_batches,
    motion_inputs,
    read_glove,
    text_inputs,
)
from dataset.humanml import Clip, dataset_folder, read_split
from dataset.normalizer import training_statistics
from dataset.spec import get_spec
from models.evaluator import Evaluator, EvaluatorConfig, WordVectors, evaluator_checkpoint
from options.flags import parse
from options.option_evaluator import EvaluatorOptions
from utils.checkpoint import save_checkpoint
from utils.errors import fail, stoppable, told_when_full
from utils.metrics import matching_score, r_precision
from utils.runtime import Run, pick_device, seed_everything
from utils.schedule import learning_rate

VAL_DRAWS = 3  # of captions and cuts on validation, the same at each evaluation
MAX_NORM = 0.5  # of the gradients


def contrastive_loss(text: Tensor, motion: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Of embeddings [B, E]: mean d² of the pairs, and mean max(0, margin - d)² of the mismatched ones."""
    distances = torch.cdist(text, motion, compute_mode="donot_use_mm_for_euclid_dist")  # [B, B], exact where near
    own = torch.eye(len(text), dtype=torch.bool, device=text.device)
    return distances[own].square().mean(), (margin - distances[~own]).clamp(min=0).square().mean()


def epochs(clips: list[Clip], size: int, generator: np.random.Generator) -> Iterator[list[Item]]:
    """Batches without end: each time through the clips, captions and cuts are drawn anew."""
    while True:
        yield from batches(draw_items(clips, generator), size, generator)


@stoppable
@told_when_full
def main() -> None:
    options = parse(EvaluatorOptions, __doc__)

    # --- Data
    try:
        spec = get_spec(options.dataname)
        device = pick_device(options.device)
        folder = dataset_folder(spec, options.data_root)
        mean, std = training_statistics(folder, spec)
        glove = read_glove(options.glove, device) if options.glove else None
        train, val = (read_split(spec, folder, split) for split in ("train", "val"))
        for split, clips, size in (("train", train, options.batch_size), ("val", val, BATCH)):
            if len(clips) < size:
                raise ValueError(f"{folder} has {len(clips)} usable clips in its split {split!r}, a batch has {size}")
        run = Run(f"{options.out_dir}/{options.exp_name}", options)
    except ValueError as error:
        fail(str(error))
    drawn = epochs(train, options.batch_size, np.random.default_rng(options.seed))
    val_draws = np.random.default_rng(options.seed)
    val_batches = [b for _ in range(VAL_DRAWS) for b in batches(draw_items(val, val_draws), BATCH, val_draws)]

    # --- Model
    seed_everything(options.seed)
    config = EvaluatorConfig(
        dim=spec.dim,
        movement_hidden=options.dim_movement_hidden,
        movement=options.dim_movement,
        word=glove.vectors.shape[1] if glove else options.dim_word,
        pos=len(CLASSES),
        text_hidden=options.dim_text_hidden,
        motion_hidden=options.dim_motion_hidden,
        embedding=options.dim_coemb,
    )
    model = Evaluator(config).to(device).train()
    model.set_statistics(torch.from_numpy(mean), torch.from_numpy(std))
    weights = list(model.parameters())
    words = glove
    if not glove:
        vocabulary = build_words(train)
        vectors = nn.Parameter(0.4 * torch.randn(len(vocabulary), config.word, device=device))  # as wide as GloVe's
        vectors.data[0] = 0  # `unk` says nothing until rare words teach it
        model.words = words = WordVectors(vocabulary, vectors)
        weights.append(vectors)
    optimizer = torch.optim.Adam(weights, options.lr)
    run.say(
        f"{len(train)} clips, {len(words.words)} words {'of GloVe' if glove else 'to learn'}, "
        f"{sum(weight.numel() for weight in weights):,} weights"
    )

    # --- Training
    best, totals = -1.0, torch.zeros(2)
    for step in range(1, options.total_iter + 1):
        until = options.total_iter if options.cosine else None
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.lr, options.warm_up_iter, (), 1.0, until)
        batch = next(drawn)
        text = model.embed_text(*text_inputs([item.caption for item in batch], words))
        motion = model.embed_motion(*motion_inputs(batch, model.mean, model.std))
        matched, mismatched = contrastive_loss(text, motion, options.margin)
        optimizer.zero_grad(set_to_none=True)
        (matched + mismatched).backward()
        nn.utils.clip_grad_norm_(weights, MAX_NORM)
        optimizer.step()
        totals += torch.stack((matched, mismatched)).detach().cpu() / options.print_iter
        if step % options.print_iter == 0:
            run.report(step, dict(zip(("train/loss_matched", "train/loss_mismatched"), totals.tolist())))
            totals.zero_()

        # --- Validation
        if step % options.eval_iter == 0 or step == options.total_iter:
            model.eval()
            text, motion = (x.numpy() for x in embed_batches(model, val_batches, words))
            model.train()
            top = r_precision(text, motion, batch=BATCH)
            figures = {f"val/r_precision_{k}": share for k, share in enumerate(top.tolist(), start=1)}
            run.report(step, {**figures, "val/matching_score": matching_score(text, motion)})
            checkpoint = evaluator_checkpoint(model, spec.name)
            save_checkpoint(run.folder / "net_last.pth", checkpoint)
            if top[2] > best:
                best = top[2]
                save_checkpoint(run.folder / "net_best.pth", checkpoint)
    run.close()


if __name__ == "__main__":
    main()
