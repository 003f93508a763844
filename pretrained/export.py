"""Make the shipped files from training runs: half precision, without what only training needs.

    python -m pretrained.export --vq output/vq/vq/net_last.pth --trans output/trans/net_last.pth \
        --length output/length/net_best.pth --evaluator output/evaluator/net_best.pth \
        --vq-upper output/vq/vq_upper/net_last.pth --trans-upper output/trans_upper/net_last.pth

What is not named is not made; a tokenizer and its transformer go together.
"""

import argparse
from pathlib import Path

from models.evaluator import evaluator_checkpoint, load_evaluator
from models.length import length_checkpoint, load_length_model
from models.pipeline import check_body, check_codebooks
from models.transformer import load_stage2, transformer_checkpoint
from models.vqvae import TRAINING_STATE, load_vqvae, vqvae_checkpoint
from utils.checkpoint import halved, load_checkpoint, save_checkpoint
from utils.errors import fail

HERE = Path(__file__).resolve().parent


def stages(vq_path: str, trans_path: str, parts: int) -> tuple[dict, dict]:
    """Both stages' contents. Raises ValueError for files of another kind, or that do not belong together."""
    tokenizer, stage2 = load_vqvae(vq_path), load_stage2(trans_path)
    check_body(len(tokenizer.config.parts), vq_path, parts)
    check_body(stage2.model.config.parts, trans_path, parts)
    check_codebooks(stage2.model, trans_path, tokenizer, vq_path)
    vq = vqvae_checkpoint(tokenizer, load_checkpoint(vq_path).get("dataset"))
    vq["net"] = {k: v for k, v in vq["net"].items() if k.removeprefix("vqvae.") not in TRAINING_STATE}
    return vq, transformer_checkpoint(stage2.model, stage2.text, stage2.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("vq", "trans", "length", "evaluator", "vq-upper", "trans-upper"):
        parser.add_argument(f"--{name}", help=f"checkpoint that becomes {name.replace('-', '_')}.pth")
    parser.add_argument("--out-dir", type=Path, default=HERE)
    args = parser.parse_args()
    contents = {}
    try:
        for vq, trans, parts in (("vq", "trans", 1), ("vq_upper", "trans_upper", 2)):
            paths = getattr(args, vq), getattr(args, trans)
            if any(paths) and not all(paths):
                raise ValueError(f"{vq}.pth and {trans}.pth go together: name both checkpoints")
            if all(paths):
                contents[vq], contents[trans] = stages(*paths, parts)
        if args.length:
            dataset = load_checkpoint(args.length).get("dataset")
            contents["length"] = length_checkpoint(load_length_model(args.length), dataset)
        if args.evaluator:
            judge = load_evaluator(args.evaluator)
            contents["evaluator"] = evaluator_checkpoint(judge, judge.dataset)
        if not contents:
            raise ValueError("name a checkpoint: see --help")
    except ValueError as error:
        fail(str(error))
    for name, content in contents.items():
        path = args.out_dir / f"{name}.pth"
        save_checkpoint(path, halved(content))
        print(f"{path} {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
