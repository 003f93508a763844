"""One's own BVH files, each with captions beside it, to a folder to train on, of HumanML3D's layout.

    python -m dataset.prepare.own my_clips --out dataset/Own
    python train_t2m_trans.py --dataname bandai --data-root dataset/Own ...

walk.bvh wants walk.txt: a caption a line, "a man walks in a circle", or with the seconds of a stretch behind it, "he
sits down#2.5#6". Skeletons are recognised, or told, as by dataset.prepare.bvh. Every clip is there a second time
mirrored, left and right exchanged in its captions. One clip in ten goes to test, one in twenty to validation, by hash
of its name. Clips are of 2 to 10 seconds: longer ones are used in stretches, shorter ones not at all.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.prepare import layout
from dataset.prepare.bvh import JointMap, add_skeleton_flags, convert, skeleton_flags
from dataset.prepare.captions import mirror_caption, tag
from dataset.spec import BANDAI
from options.flags import Parser
from utils.errors import fail, stoppable
from utils.files import write_text, write_whole
from utils.motion import joints_to_features, mirror_joints

LEAST = 10  # clips: fewer leave none to validate on


def read_lines(path: Path, frames: int) -> list[tuple[str, float, float]]:
    """(caption, first second, last second) of each line of a captions file; without times, of all of a clip of so many
    frames, in stretches where it is too long to be used whole. Raises OSError, and ValueError naming the file.
    """
    seconds, longest = frames / BANDAI.fps, (BANDAI.max_frames - 4) / BANDAI.fps
    whole = layout.sub_clips(seconds, longest) if frames > BANDAI.max_frames else [(0.0, 0.0)]
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}") from error
    lines = []
    for line in content.splitlines():
        caption, *times = (part.strip() for part in line.split("#"))
        if not caption and not times:
            continue
        try:
            start, end = map(float, times) if times else (0.0, 0.0)
        except ValueError:
            raise ValueError(
                f"{path}: a line is a caption, or caption#start#end in seconds, not {line[:60]!r}"
            ) from None
        if not caption or (times and not 0 <= start < end <= seconds + 1):
            raise ValueError(f"{path}: there is no caption, or no such stretch of {seconds:.1f} s, in {line[:60]!r}")
        lines += [(caption, start, end)] if times else [(caption, *stretch) for stretch in whole]
    if not lines:
        raise ValueError(f"{path} holds no caption: write one a line")
    return lines


def prepare_clip(path: Path, name: str, out: Path, joint_map: JointMap | None, scale: float | None, up: str) -> None:
    """Write features and texts of a clip and of its mirror image. Raises OSError and ValueError for unusable files."""
    captions = path.with_suffix(".txt")
    if not captions.is_file():
        raise ValueError(f"{path} has no captions: write them into {captions.name} beside it, one a line")
    features, joints, _ = convert(path, joint_map, scale, up)
    if len(features) < BANDAI.min_frames:
        raise ValueError(
            f"{path} lasts {len(features) / BANDAI.fps:.1f} s: clips need {BANDAI.min_frames / BANDAI.fps:g} s"
        )
    lines = read_lines(captions, len(features))
    mirrored = joints_to_features(mirror_joints(joints, BANDAI), BANDAI)
    for clip, motion, change in ((name, features, str), (f"M{name}", mirrored, mirror_caption)):
        texts = [(change(caption), start, end) for caption, start, end in lines]
        lines_of = "".join(f"{layout.text_line(text, tag(text), start, end)}\n" for text, start, end in texts)
        write_text(layout.text_path(out, clip), lines_of)
        write_whole(layout.features_path(out, clip), lambda file, x=motion: np.save(file, x))


def clip_names(source: Path) -> dict[str, Path]:
    """The BVH files of a folder by their clips' names. Raises ValueError where two would be written to one file."""
    names, taken = {}, {}
    for path in sorted(source.rglob("*.bvh")):
        name = "_".join(" ".join(path.relative_to(source).with_suffix("").parts).split())  # no spaces in split files
        for written in (name, f"M{name}"):
            if written in taken:
                raise ValueError(f"{taken[written]} and {path} would both be written as {written}: rename one")
            taken[written] = path
        names[name] = path
    return names


def prepare(source: Path, out: Path, joint_map: JointMap | None, scale: float | None, up: str) -> None:
    """The whole preparation; raises ValueError where too few clips can be used, or two would have one name."""
    paths = clip_names(source)
    usable = []
    for name, path in tqdm(paths.items(), desc="clips", unit="clip", disable=None):
        try:
            prepare_clip(path, name, out, joint_map, scale, up)
        except (OSError, ValueError) as error:
            print(f"skipped {' '.join(str(error).split())}", file=sys.stderr)
            continue
        usable.append(name)
    if len(usable) < LEAST:
        raise ValueError(f"{source} has {len(usable)} BVH files with captions that can be used: {LEAST} are needed")
    found = layout.split_and_measure(out, {"": usable}, BANDAI)
    print(f"{out}: {found}; {len(paths) - len(usable)} skipped")


@stoppable
def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with .bvh files, and a .txt beside each")
    parser.add_argument("--out", type=Path, default=Path("dataset/Own"))
    add_skeleton_flags(parser)
    args = parser.parse_args()
    if not args.source.is_dir():
        fail(f"there is no folder {args.source}")
    try:
        prepare(args.source, args.out, *skeleton_flags(args))
    except (ValueError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
