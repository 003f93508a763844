"""Stage 1: train the motion tokenizer (spec/model.md 1).

    python train_vq.py --dataname t2m --exp-name vq_name

With --sep-uplow the upper and the lower body have a tokenizer each, in one file (spec/model.md 4).
Writes OUT_DIR/vq/EXP_NAME: net_last.pth, net_best.pth (lowest joint error on validation), config.json, run.log,
TensorBoard events and state.pth, from which the same command goes on with --resume; and net_best_fid.pth (lowest FID on
validation) where there is a judge (--evaluator). Ctrl-C and SIGTERM write the state, then end.

Every GPU in sight takes its share of each batch; for several machines start it with torchrun, or with srun in SLURM.
"""

import math
import time
from dataclasses import replace

import numpy as np
import torch

from dataset.balance import balancing_weights
from dataset.humanml import dataset_folder, read_split
from dataset.normalizer import training_statistics, upper_statistics
from dataset.spec import DatasetSpec, get_spec
from dataset.windows import Windows
from models.encdec import ConvConfig
from models.ids import length_mask, token_count
from models.judge import load_validation, real_motion, reconstruct
from models.quantize import perplexity
from models.vqvae import VQVAE, VQConfig, check_width, load_vqvae, vqvae_checkpoint
from options.flags import parse
from options.option_vq import PUBLISHED, VQOptions
from options.sizes import check_sep_uplow, check_sizes, given_or, stage1_sizes
from utils.checkpoint import load_state, save_checkpoint
from utils.errors import fail, stoppable, told_when_full
from utils.losses import displacement_error, reconstruction_loss, root_aligned_error
from utils.motion import features_to_joints
from utils.processes import launch, mean_of_all, rows_of_all, several, share_here, slice_here, wait_for_all
from utils.resume import begun_before, restore_random_state, save_state
from utils.runtime import Run, autocast, pick_device, pick_precision, seed_everything
from utils.schedule import learning_rate
from utils.video import SIZE, motion_gif
from utils.visualize import motion_picture


def with_sizes(options: VQOptions, start: VQVAE | None) -> VQOptions:
    """The options with the sizes that they do not give: those of the tokenizer to start from, else the published ones.

    Raises ValueError where they give others than that tokenizer's.
    """
    if start:
        check_sizes(options, stage1_sizes(start.config))
    return replace(options, **given_or(options, stage1_sizes(start.config) if start else PUBLISHED))


def build_model(options: VQOptions, spec: DatasetSpec) -> VQVAE:
    """The tokenizer that the flags describe. Raises ValueError for sizes that do not go together."""
    if options.stride_t != 2:
        raise ValueError("--stride-t must be 2: a halving of the rate is all the layers can do")
    conv = ConvConfig(
        options.width, options.depth, options.down_t, options.dilation_growth_rate, options.vq_act, options.vq_norm
    )
    halves = (spec.lower_features, spec.upper_heights) if options.sep_uplow else ()
    return VQVAE(
        VQConfig(
            spec.dim, options.nb_code, options.code_dim, conv, options.quantizer, options.mu, options.beta, *halves
        )
    )


def training_mode(model: VQVAE, decoder_only: bool) -> None:
    """Let all of the tokenizer learn, or the decoder alone: encoder and codes then give the same ids as before."""
    model.train()
    if decoder_only:
        for name, module in model.named_children():
            if not name.startswith("decoder"):
                module.eval().requires_grad_(False)


def codebook_use(ids: torch.Tensor, config: VQConfig) -> dict[str, float]:
    """Share of the codebook used and perplexity of ids [N]; of ids [N, parts], those of each part."""
    figures = {}
    for part, column in zip(config.parts, ids.view(len(ids), -1).unbind(dim=1)):
        end = "" if part == "body" else f"_{part}"
        figures[f"codes_used{end}"] = len(column.unique()) / config.codes
        figures[f"perplexity{end}"] = perplexity(column, config.codes).item()
    return figures


@torch.no_grad()
def evaluate(model: VQVAE, clips: list, spec, device: torch.device, batch: int = 64) -> dict[str, float]:
    """Reconstruct whole clips: root-aligned joint error in millimetres, share of the codebook used, perplexity."""
    model.eval()
    errors, ids = [], []
    clips = sorted(clips, key=lambda clip: len(clip.motion))
    for first in range(0, len(clips), batch):
        rows = [torch.from_numpy(clip.motion) for clip in clips[first : first + batch]]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        motion = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        tokens = model.encode(model.normalise(motion), lengths)
        decoded = model.denormalise(model.decode(tokens, lengths))[:, : motion.shape[1]]
        ids.append(tokens[length_mask(token_count(lengths, model.config.frames_per_token), tokens.shape[1])])
        for row, target, length in zip(decoded, motion, lengths.tolist()):
            mask = torch.ones(1, length, dtype=torch.bool, device=device)
            joints, wanted = (features_to_joints(x[None, :length], spec) for x in (row, target))
            errors.append(root_aligned_error(joints, wanted, mask).item())
    error = float(np.mean(errors)) * spec.metres_per_unit * 1000
    return {"mpjpe_mm": error, **codebook_use(torch.cat(ids), model.config)}


@stoppable
@told_when_full
def main() -> None:
    options = parse(VQOptions, __doc__)

    # --- data -------------------------------------------------------------------------------------------------------
    try:
        spec = get_spec(options.dataname)
        device = pick_device(options.device)
        folder = dataset_folder(spec, options.data_root)
        mean, std = map(torch.from_numpy, training_statistics(folder, spec))
        train_clips, val_clips = (read_split(spec, folder, split) for split in ("train", "val"))
        judged, note = load_validation(spec, val_clips, options.evaluator, options.glove, device)
        seed_everything(options.seed)  # here: with a judge or without one, what is learned is the same
        if options.decoder_only and not options.resume_pth:
            raise ValueError("--decoder-only trains on with a tokenizer that is there: give --resume-pth")
        start = load_vqvae(options.resume_pth) if options.resume_pth else None
        if start:
            check_width(start, spec, options.resume_pth)
            check_sep_uplow(options.sep_uplow, len(start.config.parts), options.resume_pth)
        options = with_sizes(options, start)
        model = build_model(options, spec)
        if start:  # the weights, and the space they live in, are the file's; how the codebook learns on, the flags'
            load_state(model, start.state_dict(), options.resume_pth)
        if start and start.has_statistics:
            mean, std = start.mean, start.std
        else:
            heights = map(torch.from_numpy, upper_statistics(train_clips, spec)) if options.sep_uplow else ()
            model.set_statistics(mean, std, *heights)
        weights = balancing_weights(train_clips, spec, options.balance)
        windows = Windows(train_clips, mean, std, options.window_size, model.config.frames_per_token, weights, device)
        folder = f"{options.out_dir}/vq/{options.exp_name}"
        resumed = begun_before(folder, options)
        run = Run(folder, options, resumed)
        fabric = launch(device, options.device, options.processes, options.batch_size)
        if several() and options.vq_norm == "BN":
            if device.type == "cpu":
                raise ValueError("--vq-norm BN is for one process on a CPU: only GPUs share its statistics")
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    except ValueError as error:
        fail(str(error))
    draws = torch.Generator().manual_seed(options.seed)  # the same in all processes, each of which takes `mine`
    mine = slice_here(options.batch_size)

    # --- model ------------------------------------------------------------------------------------------------------
    training_mode(model.to(device), options.decoder_only)
    precision = pick_precision(options.precision, device)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, options.lr, betas=(0.9, 0.99), weight_decay=options.weight_decay, fused=True)
    best, best_fid, totals = math.inf, math.inf, {}
    if resumed:
        model.load_state_dict(resumed["model"])
        optimizer.load_state_dict(resumed["optimizer"])
        draws.set_state(resumed["draws"])
        best, best_fid = resumed["best"], resumed["best_fid"]
        totals = {name: value.to(device) for name, value in resumed["totals"].items()}
        restore_random_state(resumed["random"])

    def keep(step: int) -> None:
        """Write what the lines above read."""
        content = {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(), "draws": draws.get_state(),
            "best": best, "best_fid": best_fid, "totals": {name: mean_of_all(value) for name, value in totals.items()},
        }  # fmt: skip
        save_state(run, step, content)

    if not resumed:
        keep(0)
    run.begin(
        f"{len(train_clips)} clips to train on, {len(val_clips)} to validate, "
        f"{sum(p.numel() for p in weights):,} weights",
        note,
    )
    if options.compile:
        for name, network in model.named_children():
            if name.startswith(("encoder", "decoder")):
                network.compile()
    learner = fabric.setup_module(model)  # `model` itself, or what averages its gradients over the processes

    # --- training ---------------------------------------------------------------------------------------------------
    since, counted = time.time(), 0
    for step in run.steps(options.total_iter):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step, options.lr, options.warm_up_iter, options.lr_scheduler, options.gamma,
                options.total_iter if options.cosine else None,
            )  # fmt: skip
        motion, lengths = windows.draw(options.batch_size, draws, mine)
        mask = torch.arange(motion.shape[1], device=device) < lengths[:, None]  # [B, T]
        with autocast(device, precision):
            out = learner(motion, lengths, draws)
        restored = out.motion.float()

        joints = spec.position_slice
        losses = {
            "features": reconstruction_loss(options.recons_loss, restored, motion, mask),
            "positions": reconstruction_loss(options.recons_loss, restored[..., joints], motion[..., joints], mask),
            "commit": out.loss,
        }
        share = share_here(lengths.sum())  # of the frames, and as many times fewer tokens
        losses = {name: value * share for name, value in losses.items()}
        loss = losses["features"] + options.loss_vel * losses["positions"] + options.commit * losses["commit"]
        if options.loss_joint or options.loss_step:
            metric, wanted = (features_to_joints(model.denormalise(x), spec) for x in (restored, motion))
            decimetres = spec.metres_per_unit * 10  # brings these losses to the size of the others
            losses["joints"] = root_aligned_error(metric, wanted, mask) * decimetres * share
            losses["steps"] = displacement_error(metric, wanted, mask) * decimetres * share_here((lengths - 1).sum())
            loss = loss + options.loss_joint * losses["joints"] + options.loss_step * losses["steps"]

        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()

        # --- reports ------------------------------------------------------------------------------------------------
        for name, value in (("total", loss), *losses.items()):
            totals[name] = totals.get(name, 0.0) + value.detach() / options.print_iter
        counted += 1
        if step % options.print_iter == 0:
            figures = {f"train/{name}": float(mean_of_all(value)) for name, value in totals.items()}
            figures |= {f"train/{name}": x for name, x in codebook_use(rows_of_all(out.ids), model.config).items()}
            figures["train/lr"] = optimizer.param_groups[0]["lr"]
            figures["train/steps_per_second"] = counted / (time.time() - since)
            run.report(step, figures)
            run.progress(loss=figures["train/total"])
            totals, since, counted = {}, time.time(), 0
        finished = step == options.total_iter
        stopping = run.stopping(step) and not finished
        evaluates = step % options.eval_iter == 0 or finished
        if evaluates and run.writes:
            torch.compiler.set_stance("force_eager")  # other shapes than training's would be compiled anew
            figures = evaluate(model, val_clips, spec, device)
            if judged:
                figures |= judged.figures(reconstruct(model, [real_motion(item) for item in judged.draw.items]))
            run.report(step, {f"val/{name}": value for name, value in figures.items()})
            show_sample(run, step, model, val_clips[(step // options.eval_iter) % len(val_clips)], spec, device)
            training_mode(model, options.decoder_only)
            checkpoint = vqvae_checkpoint(model, spec.name)
            save_checkpoint(run.folder / "net_last.pth", checkpoint)
            if figures["mpjpe_mm"] < best:
                best = figures["mpjpe_mm"]
                save_checkpoint(run.folder / "net_best.pth", checkpoint)
            if figures.get("fid", math.inf) < best_fid:
                best_fid = figures["fid"]
                save_checkpoint(run.folder / "net_best_fid.pth", checkpoint)
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
                save_checkpoint(run.folder / "net_last.pth", vqvae_checkpoint(model, spec.name))
            run.leave()
    run.close()


@torch.no_grad()
def show_sample(run: Run, step: int, model: VQVAE, clip, spec, device: torch.device) -> None:
    """A clip's reconstruction, to TensorBoard: as a strip of poses, and moving."""
    model.eval()
    motion = model.normalise(torch.from_numpy(clip.motion).to(device))[None]
    decoded = model.denormalise(model.decode(model.encode(motion)))[0].cpu()
    joints = features_to_joints(decoded, spec).numpy() * spec.metres_per_unit
    run.events.add_figure("val/reconstruction", motion_picture(joints, spec, clip.captions[0].text), step)
    run.video("val/reconstruction_moving", motion_gif(joints, spec), SIZE, step)


if __name__ == "__main__":
    main()
