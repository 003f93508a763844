"""Train the model that says how long a described motion takes, for when --length is not given.

    python train_length.py --dataname bandai --exp-name length

Writes OUT_DIR/EXP_NAME: net_last.pth, net_best.pth (lowest error on validation), config.json, run.log and
TensorBoard events.
"""

import math

import torch

from dataset.humanml import dataset_folder, read_split
from dataset.spec import get_spec
from models.ids import token_count
from models.length import LengthConfig, LengthModel, length_checkpoint, length_loss
from models.text_encoder import LearnedTextConfig, LearnedTextEncoder, build_vocabulary
from options.flags import parse
from options.option_length import LengthOptions
from utils.checkpoint import save_checkpoint
from utils.errors import fail, stoppable, told_when_full
from utils.runtime import Run, pick_device, seed_everything
from utils.schedule import learning_rate


def pairs(clips: list) -> tuple[list[list[str]], torch.Tensor]:
    """Each clip's sentences, and its length in tokens."""
    texts = [[caption.text for caption in clip.captions] for clip in clips]
    return texts, token_count(torch.tensor([len(clip.motion) for clip in clips]))


@stoppable
@told_when_full
def main() -> None:
    options = parse(LengthOptions, __doc__)
    try:
        spec = get_spec(options.dataname)
        device = pick_device(options.device)
        folder = dataset_folder(spec, options.data_root)
        (texts, lengths), (val_texts, val_lengths) = (pairs(read_split(spec, folder, s)) for s in ("train", "val"))
        run = Run(f"{options.out_dir}/{options.exp_name}", options)
    except ValueError as error:
        fail(str(error))
    seed_everything(options.seed)
    config = LengthConfig(longest=int(token_count(spec.max_frames)) - 1, text_dim=options.width)
    vocabulary = build_vocabulary(text for group in texts for text in group)
    model = LengthModel(config, LearnedTextEncoder(LearnedTextConfig(options.width, options.layers), vocabulary))
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), options.lr, weight_decay=options.weight_decay)
    draws = torch.Generator().manual_seed(options.seed)

    best, total = math.inf, 0.0
    for step in range(1, options.total_iter + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.lr, options.warm_up_iter, (), 1.0, options.total_iter)
        chosen = torch.randint(len(texts), (options.batch_size,), generator=draws)
        which = torch.rand(options.batch_size, generator=draws).tolist()
        batch = [texts[i][int(u * len(texts[i]))] for i, u in zip(chosen.tolist(), which)]
        loss = length_loss(model(batch), lengths[chosen].clamp(max=config.longest).to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() / options.print_iter
        if step % options.print_iter == 0:
            run.report(step, {"train/loss": total})
            total = 0.0
        if step % options.eval_iter == 0 or step == options.total_iter:
            model.eval()
            predicted = torch.cat([model.predict([group[0]]).cpu() for group in val_texts])
            model.train()
            error = (predicted - val_lengths).abs().float().mean().item()
            constant = (val_lengths - lengths.median()).abs().float().mean().item()
            run.report(step, {"val/error_tokens": error, "val/error_of_the_median": constant})
            checkpoint = length_checkpoint(model, spec.name)
            save_checkpoint(run.folder / "net_last.pth", checkpoint)
            if error < best:
                best = error
                save_checkpoint(run.folder / "net_best.pth", checkpoint)
    run.close()


if __name__ == "__main__":
    main()
