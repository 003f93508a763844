"""Stage 2: train the masked transformer on text and tokens (spec/model.md 2).

    python train_t2m_trans.py --dataname t2m --vq-name vq_name --exp-name trans_name --num-local-layer 2

With --sep-uplow, and a tokenizer trained with it, the upper body's ids are learned given the lower body's.
Writes OUT_DIR/EXP_NAME: net_last.pth, net_best.pth (lowest loss on validation), config.json, run.log and
TensorBoard events; and net_best_fid.pth (lowest FID on validation) where there is a judge (--evaluator).
"""

import copy
import math
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from dataset.balance import balancing_weights
from dataset.humanml import dataset_folder, read_split
from dataset.normalizer import published_statistics
from dataset.spec import get_spec
from dataset.text_features import text_table
from dataset.tokens import TokenRows, codebook_tokens, shifted_clips
from models.clip import load_clip
from models.ids import length_mask, mask_id, predicted, with_predicted
from models.judge import load_validation, made_motions
from models.masking import training_rows
from models.pipeline import MotionPipeline, check_body, check_codebooks
from models.text_encoder import LearnedTextConfig, LearnedTextEncoder, build_text_encoder, build_vocabulary
from models.transformer import MaskedTransformer, TransformerConfig, load_stage2, transformer_checkpoint
from models.vqvae import VQVAE, check_width, load_vqvae
from options.flags import parse
from options.option_transformer import TransformerOptions
from options.option_vq import VQOptions
from options.sizes import check_sep_uplow, check_sizes, stage1_sizes
from utils.checkpoint import save_checkpoint
from utils.errors import fail, told_when_full
from utils.runtime import Run, autocast, pick_device, pick_precision, seed_everything
from utils.schedule import learning_rate


def tokenizer_path(options: TransformerOptions) -> str:
    """The stage-1 checkpoint of --resume-pth, or of the run --vq-name: in OUT_DIR, else where train_vq.py writes when
    not told otherwise (the published commands give an --out-dir here and none there). Raises ValueError for neither.
    """
    if options.resume_pth:
        return options.resume_pth
    folders = dict.fromkeys((options.out_dir, VQOptions.out_dir))
    places = [f"{folder}/vq/{options.vq_name}/net_last.pth" for folder in folders]
    found = [place for place in places if Path(place).is_file()]
    if not found:
        raise ValueError(f"there is no checkpoint {' and no '.join(places)}: train_vq.py makes one, as --exp-name")
    return found[0]


def build_models(
    options: TransformerOptions, tokenizer: VQVAE, vq_path: str, captions: list[str], device: torch.device
) -> tuple[MaskedTransformer, torch.nn.Module]:
    """The transformer and the text encoder that the flags describe, or those of --resume-trans."""
    if options.resume_trans:
        stage2 = load_stage2(options.resume_trans)
        check_body(stage2.model.config.parts, options.resume_trans, len(tokenizer.config.parts))
        check_codebooks(stage2.model, options.resume_trans, tokenizer, vq_path)
        text_encoder = build_text_encoder(stage2.text, options.resume_trans, options.clip_model)
        if isinstance(text_encoder, LearnedTextEncoder):
            text_encoder.learn_words(build_vocabulary(captions))
        return stage2.model, text_encoder
    if options.text_encoder == "clip":
        text_encoder = load_clip(options.clip_model, device)
    else:
        text_config = LearnedTextConfig(options.clip_dim, options.text_layers, heads=4, dropout=options.drop_out_rate)
        text_encoder = LearnedTextEncoder(text_config, build_vocabulary(captions))
    config = TransformerConfig(
        codes=tokenizer.config.codes, code_dim=tokenizer.config.code_dim, text_dim=text_encoder.text_dim,
        width=options.embed_dim_gpt, heads=options.n_head_gpt, layers=options.num_layers,
        local_layers=options.num_local_layer,
        ff_rate=options.ff_rate, row_length=options.block_size - 1, dropout=options.drop_out_rate,
        parts=len(tokenizer.config.parts),
    )  # fmt: skip
    return MaskedTransformer(config, tokenizer.codebooks()), text_encoder


def motion_loss(logits: torch.Tensor, ids: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the motion positions [B, L] of logits [B, L, K], averaged within a row, then over rows."""
    loss = F.cross_entropy(logits.float().transpose(1, 2), ids.masked_fill(~motion, -100), reduction="none")
    return (loss.sum(dim=1) / motion.sum(dim=1)).mean()


@told_when_full
def main() -> None:
    options = parse(TransformerOptions, __doc__)

    # --- data -------------------------------------------------------------------------------------------------------
    try:
        spec = get_spec(options.dataname)
        device = pick_device(options.device)
        folder = dataset_folder(spec, options.data_root)
        vq_path = tokenizer_path(options)
        tokenizer = load_vqvae(vq_path, device)
        check_sep_uplow(options.sep_uplow, len(tokenizer.config.parts), vq_path)
        check_sizes(options, stage1_sizes(tokenizer.config))
        check_width(tokenizer, spec, vq_path)
        if not tokenizer.has_statistics:
            tokenizer.set_statistics(*published_statistics(spec))
        clips = {split: read_split(spec, folder, split) for split in ("train", "val")}
        captions = [caption.text for clip in clips["train"] for caption in clip.captions]
        room = (options.block_size - 2) * tokenizer.config.frames_per_token
        judged, note = load_validation(spec, clips["val"], options.evaluator, options.glove, device, room)
        seed_everything(options.seed)  # here: with a judge or without one, what is learned is the same
        model, text_encoder = build_models(options, tokenizer, vq_path, captions, device)
        run = Run(f"{options.out_dir}/{options.exp_name}", options)
        clips["train"] = shifted_clips(clips["train"], options.shifts)
        ids = {split: codebook_tokens(tokenizer, clips[split], vq_path, device) for split in clips}
    except (ValueError, OSError) as error:
        fail(str(error))
    codes, longest = tokenizer.config.codes, options.block_size - 2
    weights = balancing_weights(clips["train"], spec, options.balance)
    train = TokenRows(clips["train"], ids["train"], codes, longest, weights, options.crop)
    val = TokenRows(clips["val"], ids["val"], codes, longest)
    draws = torch.Generator().manual_seed(options.seed)

    # --- model ------------------------------------------------------------------------------------------------------
    if text_encoder.frozen:  # its features are computed once; what learns is the transformer alone
        texts = [caption.text for split in clips.values() for clip in split for caption in clip.captions]
        sees_padding = not model.config.mask_words  # as the released transformers, here from --resume-trans
        features = text_table(text_encoder.to(device), texts, folder / ".text_features", device, padding=sees_padding)
        learning = torch.nn.ModuleList([model])
    else:
        features = text_encoder
        learning = torch.nn.ModuleList([model, text_encoder])
    learning.to(device).train()
    averaged = copy.deepcopy(learning).eval().requires_grad_(False) if options.ema else learning
    precision = pick_precision(options.precision, device)
    weights = list(learning.parameters())
    matrices = [p for p in weights if p.ndim > 1]
    decaying = weights if options.decay_option == "all" else matrices
    groups = [
        {"params": decaying, "weight_decay": options.weight_decay},
        {"params": [p for p in weights if all(p is not q for q in decaying)], "weight_decay": 0.0},
    ]
    make = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[options.optimizer]
    optimizer = make(groups, options.lr, betas=(0.5, 0.9), fused=True)
    run.say(
        f"{len(train.lengths)} clips to train on, {len(val.lengths)} to validate, "
        f"{sum(p.numel() for p in weights):,} weights, text features: {text_encoder.kind}"
    )
    run.say(note)

    # --- training ---------------------------------------------------------------------------------------------------
    best, best_fid, since, total, right = math.inf, math.inf, time.time(), 0.0, 0.0
    for step, batch in zip(range(1, options.total_iter + 1), train.batches(options.batch_size, draws)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step, options.lr, options.warm_up_iter, options.lr_scheduler, options.gamma,
                options.total_iter if options.cosine else None,
            )  # fmt: skip
        dropped = (torch.rand(options.batch_size, generator=draws) < options.text_dropout).tolist()
        texts = ["" if drop else text for drop, text in zip(dropped, batch.texts)]
        motion = length_mask(batch.lengths, batch.rows.shape[1])
        inputs, masked = training_rows(batch.rows, motion, codes, draws, options.pkeep, options.lower_mask)
        ids, inputs, motion, masked = (x.to(device) for x in (predicted(batch.rows), inputs, motion, masked))
        with autocast(device, precision):
            text = features(texts)
            logits = model(inputs, text.sentence, text.words, word_mask=text.mask)  # [B, L, K]
        loss = motion_loss(logits, ids, motion)

        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if options.ema:
            decay = min(options.ema, step / (step + 10))  # a short memory at first: early weights are soon forgotten
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.parameters()), weights, 1 - decay)

        # --- reports ------------------------------------------------------------------------------------------------
        total += loss.detach() / options.print_iter
        right += (logits.argmax(dim=-1) == ids)[masked].float().mean() / options.print_iter
        if step % options.print_iter == 0:
            figures = {"loss": float(total), "masked_right": float(right), "lr": optimizer.param_groups[0]["lr"]}
            figures["steps_per_second"] = options.print_iter / (time.time() - since)
            run.report(step, {f"train/{name}": value for name, value in figures.items()})
            since, total, right = time.time(), 0.0, 0.0
        if step % options.eval_iter == 0 or step == options.total_iter:
            kept = averaged.eval()
            kept_features = features if text_encoder.frozen else kept[1]
            figures = evaluate(kept[0], kept_features, val, codes, device, precision)
            if judged:
                pipeline = MotionPipeline(tokenizer, kept[0], kept_features, None, spec, device, precision)
                figures |= judged.figures(made_motions(pipeline, judged.draw))
            run.report(step, {f"val/{name}": value for name, value in figures.items()})
            described = (text_encoder if text_encoder.frozen else kept[1]).checkpoint()
            checkpoint = transformer_checkpoint(kept[0], described, spec.name)
            save_checkpoint(run.folder / "net_last.pth", checkpoint)
            if figures["loss"] < best:
                best = figures["loss"]
                save_checkpoint(run.folder / "net_best.pth", checkpoint)
            if figures.get("fid", math.inf) < best_fid:
                best_fid = figures["fid"]
                save_checkpoint(run.folder / "net_best_fid.pth", checkpoint)
            learning.train()
            since = time.time()
    run.close()


@torch.no_grad()
def evaluate(
    model: MaskedTransformer, features, rows: TokenRows, codes: int, device: torch.device, precision: str
) -> dict[str, float]:
    """Loss on the validation clips with their text and without, under the same draws every time.

    Of the upper body: given all of the lower, and without any of it.
    """
    draws = torch.Generator().manual_seed(0)
    figures: dict[str, float] = {}
    rounds = 4
    for _ in range(rounds):
        batch = rows.draw(128, draws, augment=False)
        motion = length_mask(batch.lengths, batch.rows.shape[1])
        inputs, _ = training_rows(batch.rows, motion, codes, draws)
        cases = {"loss": (batch.texts, inputs), "loss_without_text": ([""] * len(batch.texts), inputs)}
        if inputs.ndim > 2:
            alone = with_predicted(inputs.masked_fill(motion[..., None], mask_id(codes)), predicted(inputs))
            cases["loss_without_lower"] = (batch.texts, alone)
        for name, (texts, shown) in cases.items():
            with autocast(device, precision):
                text = features(texts)
                logits = model(shown.to(device), text.sentence, text.words, word_mask=text.mask)
            loss = motion_loss(logits, predicted(batch.rows).to(device), motion.to(device)).item()
            figures[name] = figures.get(name, 0.0) + loss / rounds
    return figures


if __name__ == "__main__":
    main()
