"""Stage 2: train the masked transformer on text and tokens (spec/model.md 2).

    python train_t2m_trans.py --dataname t2m --vq-name vq_name --exp-name trans_name --num-local-layer 2

With --sep-uplow, and a tokenizer trained with it, the upper body's ids are learned given the lower body's.
Writes OUT_DIR/EXP_NAME: net_last.pth, net_best.pth (lowest loss on validation), config.json, run.log, TensorBoard
events and state.pth, from which the same command goes on with --resume; and net_best_fid.pth (lowest FID on validation)
where there is a judge (--evaluator). Ctrl-C and SIGTERM write the state, then end.

Every GPU in sight takes its share of each batch; for several machines start it with torchrun, or with srun in SLURM.
"""

import copy
import math
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from dataset.balance import balancing_weights
from dataset.humanml import Clip, dataset_folder, read_split
from dataset.normalizer import published_statistics
from dataset.spec import get_spec
from dataset.text_features import text_table
from dataset.tokens import TokenRows, codebook_tokens, shifted_clips
from models.clip import load_clip
from models.ids import length_mask, mask_id, predicted, with_predicted
from models.judge import load_validation, made_motions
from models.masking import training_rows
from models.pipeline import MotionPipeline, check_body, check_codebooks
from models.text_encoder import (
    LearnedTextConfig,
    LearnedTextEncoder,
    TextFeatures,
    build_text_encoder,
    build_vocabulary,
)
from models.transformer import MaskedTransformer, TransformerConfig, load_stage2, transformer_checkpoint
from models.vqvae import VQVAE, check_width, load_vqvae
from options.flags import parse
from options.option_transformer import TransformerOptions
from options.option_vq import VQOptions
from options.sizes import check_sep_uplow, check_sizes, stage1_sizes
from utils.checkpoint import save_checkpoint
from utils.errors import fail, stoppable, told_when_full
from utils.processes import launch, mean_of_all, rank_here, share_here, slice_here, wait_for_all
from utils.resume import begun_before, restore_random_state, save_state
from utils.runtime import Run, autocast, pick_device, pick_precision, seed_everything
from utils.schedule import learning_rate
from utils.video import SIZE, motion_gif


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


class TextToLogits(torch.nn.Module):
    """All that learns, as one module: the transformer, and the text encoder where that learns too."""

    def __init__(self, transformer: MaskedTransformer, text_encoder: torch.nn.Module | None):
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder

    def forward(self, inputs: torch.Tensor, text: list[str] | TextFeatures) -> torch.Tensor:
        """Logits [B, L, K] of ids [B, L] (or [B, L, parts]), given B sentences, or the features of a frozen encoder."""
        if self.text_encoder is not None:
            text = self.text_encoder(text)
        return self.transformer(inputs, text.sentence, text.words, word_mask=text.mask)


def motion_loss(logits: torch.Tensor, ids: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the motion positions [B, L] of logits [B, L, K], averaged within a row, then over rows."""
    loss = F.cross_entropy(logits.float().transpose(1, 2), ids.masked_fill(~motion, -100), reduction="none")
    return (loss.sum(dim=1) / motion.sum(dim=1)).mean()


@stoppable
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
        run_folder = f"{options.out_dir}/{options.exp_name}"
        resumed = begun_before(run_folder, options)
        run = Run(run_folder, options, resumed)
        clips["train"] = shifted_clips(clips["train"], options.shifts)
        ids = {split: codebook_tokens(tokenizer, clips[split], vq_path, device) for split in clips}
        idle_weights = not model.cross_att  # then nothing reads the words
        fabric = launch(device, options.device, options.processes, options.batch_size, idle_weights)
    except (ValueError, OSError) as error:
        fail(str(error))
    codes, longest = tokenizer.config.codes, options.block_size - 2
    weights = balancing_weights(clips["train"], spec, options.balance)
    train = TokenRows(clips["train"], ids["train"], codes, longest, weights, options.crop)
    val = TokenRows(clips["val"], ids["val"], codes, longest)
    draws = torch.Generator().manual_seed(options.seed)  # the same in all processes, each of which takes `mine`
    waiting: list[torch.Tensor] = []  # clips of the batches that are drawn and still to come
    mine = slice_here(options.batch_size)

    # --- model ------------------------------------------------------------------------------------------------------
    if text_encoder.frozen:  # its features are computed once; what learns is the transformer alone
        texts = [caption.text for split in clips.values() for clip in split for caption in clip.captions]
        sees_padding = not model.config.mask_words  # as the released transformers, here from --resume-trans
        features = text_table(text_encoder.to(device), texts, folder / ".text_features", device, padding=sees_padding)
        learning = TextToLogits(model, None)
    else:
        features = text_encoder
        learning = TextToLogits(model, text_encoder)
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
    best, best_fid = math.inf, math.inf
    total = right = torch.zeros((), device=device)
    if rank_here():
        seed_everything(options.seed + rank_here())  # dropout is each process's own
    if resumed:
        learning.load_state_dict(resumed["model"])
        if options.ema:
            averaged.load_state_dict(resumed["averaged"])
        optimizer.load_state_dict(resumed["optimizer"])
        draws.set_state(resumed["draws"])
        waiting = resumed["waiting"]
        best, best_fid = resumed["best"], resumed["best_fid"]
        total, right = resumed["total"].to(device), resumed["right"].to(device)
        restore_random_state(resumed["random"])

    def keep(step: int) -> None:
        """Write what the lines above read."""
        content = {
            "model": learning.state_dict(), "averaged": averaged.state_dict() if options.ema else None,
            "optimizer": optimizer.state_dict(), "draws": draws.get_state(), "waiting": waiting,
            "best": best, "best_fid": best_fid, "total": mean_of_all(total), "right": mean_of_all(right),
        }  # fmt: skip
        save_state(run, step, content)

    if not resumed:
        keep(0)
    run.begin(
        f"{len(train.lengths)} clips to train on, {len(val.lengths)} to validate, "
        f"{sum(p.numel() for p in weights):,} weights, text features: {text_encoder.kind}",
        note,
    )
    if options.compile:
        for block in (*model.cross_att, *model.blocks):
            block.compile(dynamic=True)  # rows and sentences are of other lengths in each batch
    learner = fabric.setup_module(learning)  # `learning` itself, or what averages its gradients over the processes

    # --- training ---------------------------------------------------------------------------------------------------
    since, counted = time.time(), 0
    batches = train.batches(options.batch_size, draws, waiting)
    for step in run.steps(options.total_iter):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step, options.lr, options.warm_up_iter, options.lr_scheduler, options.gamma,
                options.total_iter if options.cosine else None,
            )  # fmt: skip
        batch = next(batches)
        dropped = (torch.rand(options.batch_size, generator=draws) < options.text_dropout).tolist()
        texts = ["" if drop else text for drop, text in zip(dropped, batch.texts)][mine]
        motion = length_mask(batch.lengths, batch.rows.shape[1])
        inputs, masked = training_rows(batch.rows, motion, codes, draws, options.pkeep, options.lower_mask)
        rows = (predicted(batch.rows), inputs, motion, masked)  # of the whole batch
        ids, inputs, motion, masked = (x[mine].to(device) for x in rows)
        with autocast(device, precision):
            logits = learner(inputs, features(texts) if text_encoder.frozen else texts)  # [B, L, K]
        loss = motion_loss(logits, ids, motion) * share_here(torch.tensor(len(ids), device=device))

        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        if options.ema:
            decay = min(options.ema, step / (step + 10))  # a short memory at first: early weights are soon forgotten
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.parameters()), weights, 1 - decay)

        # --- reports ------------------------------------------------------------------------------------------------
        total = total + loss.detach() / options.print_iter
        hits = (logits.argmax(dim=-1) == ids)[masked].float().mean() * share_here(masked.sum())
        right = right + hits / options.print_iter
        counted += 1
        if step % options.print_iter == 0:
            figures = {"loss": float(mean_of_all(total)), "masked_right": float(mean_of_all(right))}
            figures["lr"] = optimizer.param_groups[0]["lr"]
            figures["steps_per_second"] = counted / (time.time() - since)
            run.report(step, {f"train/{name}": value for name, value in figures.items()})
            run.progress(loss=figures["loss"])
            total, right = torch.zeros_like(total), torch.zeros_like(right)
            since, counted = time.time(), 0
        finished = step == options.total_iter
        stopping = run.stopping(step) and not finished
        evaluates = step % options.eval_iter == 0 or finished
        if evaluates and run.writes:
            torch.compiler.set_stance("force_eager")  # other shapes than training's would be compiled anew
            kept = averaged.eval()
            kept_features = features if text_encoder.frozen else kept.text_encoder
            figures = evaluate(kept.transformer, kept_features, val, codes, device, precision)
            pipeline = MotionPipeline(tokenizer, kept.transformer, kept_features, None, spec, device, precision)
            if judged:
                figures |= judged.figures(made_motions(pipeline, judged.draw))
            run.report(step, {f"val/{name}": value for name, value in figures.items()})
            show_samples(run, step, pipeline, clips["val"])
            checkpoint = as_saved(averaged, text_encoder, spec.name)
            save_checkpoint(run.folder / "net_last.pth", checkpoint)
            if figures["loss"] < best:
                best = figures["loss"]
                save_checkpoint(run.folder / "net_best.pth", checkpoint)
            if figures.get("fid", math.inf) < best_fid:
                best_fid = figures["fid"]
                save_checkpoint(run.folder / "net_best_fid.pth", checkpoint)
            learning.train()
            torch.compiler.set_stance("default")
            since, counted = time.time(), 0
        if evaluates:
            wait_for_all()
        if step % options.save_iter == 0 or finished or stopping:
            if stopping:
                run.stop(step)
            keep(step)
        if stopping:
            if run.writes:
                save_checkpoint(run.folder / "net_last.pth", as_saved(averaged, text_encoder, spec.name))
            run.leave()
    run.close()


def as_saved(averaged: TextToLogits, text_encoder: torch.nn.Module, dataset: str) -> dict:
    """The checkpoint of what learned; a frozen text encoder describes itself."""
    described = (text_encoder if text_encoder.frozen else averaged.text_encoder).checkpoint()
    return transformer_checkpoint(averaged.transformer, described, dataset)


def show_samples(run: Run, step: int, pipeline: MotionPipeline, clips: list[Clip], count: int = 2) -> None:
    """Motions of some validation captions, as long as their clips, to TensorBoard: each moving, and its caption."""
    if pipeline.transformer.config.parts > 1:
        return  # the upper body alone needs a motion to be edited
    shown = [clips[i * len(clips) // count] for i in range(count)]
    lengths = [min(len(clip.motion), pipeline.longest) for clip in shown]
    motions = pipeline.generate([clip.captions[0].text for clip in shown], lengths, cfg_scale=None)
    for i, motion in enumerate(motions):
        run.video(f"val/sample_{i}", motion_gif(motion.joints, pipeline.spec), SIZE, step)
        run.events.add_text(f"val/sample_{i}", motion.text, step)


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
