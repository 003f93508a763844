"""Make the shipped files from training runs: half precision, without what only training needs.

    python -m pretrained.export --vq output/vq/vq/net_best.pth --trans output/trans/net_last.pth \
        --length output/length/net_best.pth
"""

import argparse
from pathlib import Path

from models.length import length_checkpoint, load_length_model
from models.transformer import load_stage2, transformer_checkpoint
from models.vqvae import TRAINING_STATE, load_vqvae, vqvae_checkpoint
from utils.checkpoint import halved, load_checkpoint, save_checkpoint
from utils.errors import fail

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("vq", "trans", "length"):
        parser.add_argument(f"--{name}", required=True, help=f"checkpoint that becomes {name}.pth")
    parser.add_argument("--out-dir", type=Path, default=HERE)
    args = parser.parse_args()
    try:
        dataset = load_checkpoint(args.vq).get("dataset")
        vq = vqvae_checkpoint(load_vqvae(args.vq), dataset)
        vq["net"] = {k: v for k, v in vq["net"].items() if k.removeprefix("vqvae.") not in TRAINING_STATE}
        stage2 = load_stage2(args.trans)
        length = load_length_model(args.length)
    except ValueError as error:
        fail(str(error))
    contents = {
        "vq": vq,
        "trans": transformer_checkpoint(stage2.model, stage2.text, stage2.dataset),
        "length": length_checkpoint(length, dataset),
    }
    for name, content in contents.items():
        path = args.out_dir / f"{name}.pth"
        save_checkpoint(path, halved(content))
        print(f"{path} {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
