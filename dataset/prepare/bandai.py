"""Bandai-Namco-Research-Motiondataset to a folder of HumanML3D's layout.

    python -m dataset.prepare.bandai --source <archive, folder or clone> --out dataset/BandaiNamco

Every clip becomes features and captions, and once more mirrored with the words left and right exchanged. A clip and its
mirror image always share a split. What was written before is kept, so an interrupted run goes on where it stopped.
"""

import argparse
import math
import multiprocessing
import os
import random
import re
import sys
import tarfile
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.prepare import layout
from dataset.prepare.captions import CONTENTS, STYLES, captions, mirror_caption, tag
from dataset.prepare.resample import resample
from dataset.spec import BANDAI
from options.flags import Parser
from utils.arrays import read_array
from utils.bvh import Bvh, joint_positions, parse_bvh
from utils.errors import fail, stoppable
from utils.files import BROKEN_ARCHIVE, check_zip, write_text, write_whole
from utils.motion import joints_to_features, mirror_joints

NAME = re.compile(r"dataset-[12]_(?P<content>[a-z-]+)_(?P<style>[a-z-]+)_\d+")
METRES_PER_UNIT = 0.01
CAPTIONS_PER_CLIP = 8
CAPTIONS_PER_CONTENT = 2000  # a content of few clips gets more captions a clip, so that its words are as varied

# The 22 joints of the spec from the file's; spine1 and spine2 are points between (spec/data.md 4).
SOURCE_JOINTS = {
    "pelvis": "Hips", "left_hip": "UpperLeg_L", "right_hip": "UpperLeg_R", "left_knee": "LowerLeg_L",
    "right_knee": "LowerLeg_R", "left_ankle": "Foot_L", "right_ankle": "Foot_R", "spine3": "Chest",
    "left_foot": "Toes_L", "right_foot": "Toes_R", "neck": "Neck", "left_collar": "Shoulder_L",
    "right_collar": "Shoulder_R", "head": "Head", "left_shoulder": "UpperArm_L", "right_shoulder": "UpperArm_R",
    "left_elbow": "LowerArm_L", "right_elbow": "LowerArm_R", "left_wrist": "Hand_L", "right_wrist": "Hand_R",
}  # fmt: skip


def body_joints(bvh: Bvh) -> np.ndarray:
    """The 22 joints [F, 22, 3] of a Bandai-Namco file, in metres. Raises ValueError where one is missing."""
    missing = sorted({*SOURCE_JOINTS.values(), "Spine"} - set(bvh.names))
    if missing:
        raise ValueError(f"not the dataset's skeleton: it has no joint {', '.join(missing)}")
    positions = joint_positions(bvh) * METRES_PER_UNIT
    at = {name: positions[:, i] for i, name in enumerate(bvh.names)}
    at["spine1"] = at["Hips"] + 0.6 * (at["Spine"] - at["Hips"])
    at["spine2"] = (at["Spine"] + at["Chest"]) / 2
    return np.stack([at[SOURCE_JOINTS.get(name, name)] for name in BANDAI.joint_names], axis=1)


def find_clips(source: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of every BVH file with a name of the dataset's in a folder, a tar or a zip; nothing is unpacked.

    Raises ValueError for what is none of these, and for an archive that is damaged, at its end at the latest.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*.bvh")):
            yield path.stem, path.read_text(errors="replace")
        return
    try:
        reader = _of_tar if tarfile.is_tarfile(source) else _of_zip if zipfile.is_zipfile(source) else None
        if reader:
            yield from reader(source)
    except (OSError, *BROKEN_ARCHIVE) as error:
        raise ValueError(f"the archive {source} is damaged ({error}): fetch it again") from error
    if not reader:
        raise ValueError(f"{source} is no folder, tar or zip archive")


def _of_zip(source: Path) -> Iterator[tuple[str, str]]:
    check_zip(source)  # members that its directory calls something else, too
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if name.endswith(".bvh"):
                yield Path(name).stem, archive.read(name).decode(errors="replace")


def _of_tar(source: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(source) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".bvh"):
                yield Path(member.name).stem, archive.extractfile(member).read().decode(errors="replace")
        # tarfile takes a header that it cannot read for the end, and what is behind the end for nothing to look at
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a header in it cannot be read")
        while archive.fileobj.read(1 << 20):
            pass  # to where the sums of compressed data are


def prepare_clip(name: str, text: str, out: Path) -> str | None:
    """Write the features of a clip and of its mirror image; the reason when the file is broken."""
    try:
        bvh = parse_bvh(text)
        joints = resample(body_joints(bvh), bvh.fps, BANDAI.fps)
        written = {name: joints, f"M{name}": mirror_joints(joints, BANDAI)}
        for clip, motion in written.items():
            features = joints_to_features(motion, BANDAI)
            write_whole(layout.features_path(out, clip), lambda path, f=features: np.save(path, f))
    except ValueError as error:
        return f"{name}: {error}"
    return None


def write_captions(name: str, frames: int, count: int, out: Path) -> None:
    """The texts of a clip and its mirror image; a clip too long to be used whole is described in stretches."""
    labels = NAME.fullmatch(name)
    rng = random.Random(name)  # the same captions whatever order clips come in
    seconds, longest = frames / BANDAI.fps, (BANDAI.max_frames - 4) / BANDAI.fps
    stretches = layout.sub_clips(seconds, longest) if frames > BANDAI.max_frames else [(0.0, 0.0)]
    lines, mirrored = [], []
    for start, end in stretches:
        for caption in captions(labels["content"], labels["style"], count, rng):
            lines.append(layout.text_line(caption, tag(caption), start, end))
            swapped = mirror_caption(caption)
            mirrored.append(layout.text_line(swapped, tag(swapped), start, end))
    write_text(layout.text_path(out, name), "\n".join(lines) + "\n")
    write_text(layout.text_path(out, f"M{name}"), "\n".join(mirrored) + "\n")


def end_with_parent() -> None:
    """In a process of the pool: end when the one that started it is gone, for a killed one cannot say goodbye."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def prepare(source: Path, out: Path) -> None:
    """The whole preparation; raises ValueError where the source holds no clip of the dataset."""
    if not source.is_dir():  # all of an archive first: what is damaged must not be written, for it would be kept
        for _ in tqdm(find_clips(source), desc="checking", unit="clip", disable=None):
            pass
    broken, names = [], []
    with ProcessPoolExecutor(initializer=end_with_parent) as pool:
        jobs = {}
        for name, text in tqdm(find_clips(source), desc="reading", unit="clip", disable=None):
            labels = NAME.fullmatch(name)
            if not labels:
                continue
            if labels["content"] not in CONTENTS or labels["style"] not in STYLES:
                broken.append(f"{name}: there are no words for its content or style")
                continue
            names.append(name)
            # the mirror image is written last, so where it is the clip is done
            if not layout.features_path(out, f"M{name}").exists():
                jobs[name] = pool.submit(prepare_clip, name, text, out)
        if not names:
            raise ValueError(f"{source} holds no file named like dataset-1_walk_normal_001.bvh")
        for job in tqdm(jobs.values(), desc="features", unit="clip", disable=None):
            if reason := job.result():
                broken.append(reason)
    for reason in broken:
        print(f"skipped {reason}", file=sys.stderr)
    names = sorted(name for name in names if layout.features_path(out, f"M{name}").exists())
    if not names:
        raise ValueError(f"not one file of {source} could be read")
    by_content = defaultdict(list)
    for name in names:
        by_content[NAME.fullmatch(name)["content"]].append(name)
    for clips in tqdm(by_content.values(), desc="captions", unit="content", disable=None):
        count = max(CAPTIONS_PER_CLIP, math.ceil(CAPTIONS_PER_CONTENT / len(clips)))
        for name in clips:
            frames = len(read_array(layout.features_path(out, name), mmap_mode="r"))
            write_captions(name, frames, count, out)
    found = layout.split_and_measure(out, by_content, BANDAI)
    print(f"{out}: {found}; {len(broken)} broken files skipped")


@stoppable
def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="archive, folder or clone with the BVH files")
    parser.add_argument("--out", type=Path, default=Path(BANDAI.folder))
    args = parser.parse_args()
    if not args.source.exists():
        fail(f"there is no {args.source}: fetch it with dataset/prepare/download_bandai.sh, or give --source")
    try:
        prepare(args.source, args.out)
    except (ValueError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
