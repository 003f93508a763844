"""What is wrong with a copy of a dataset, said before a training run finds out.

    python -m dataset.prepare.check --dataname t2m
    python -m dataset.prepare.check --dataname kit --data-root /data/KIT-ML

Reads every file once (a minute or two for HumanML3D) and says: how many names each split has, against the numbers
commonly published; files that are missing, broken, of another shape or hold nan; whether Mean.npy and Std.npy fit the
training clips; whether the published statistics are there and fit; and, for a few clips with new_joints/NAME.npy,
whether features and joints agree. Nothing is written. The status is 1 where anything is wrong.

Axes: T frames, J joints, D features.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.humanml import dataset_folder, load_array, read_captions, read_motion, split_names
from dataset.normalizer import CHECKPOINTS, published_paths, published_statistics, read_statistics
from dataset.prepare.layout import FEATURES, TEXTS, features_path, text_path
from dataset.spec import SPECS, DatasetSpec, get_spec
from options.flags import flag, parse
from utils.errors import fail
from utils.motion import features_to_joints, joints_to_features

SPLITS = ("train", "val", "test")  # no name is in two of them
PUBLISHED_NAMES = {
    "t2m": {"train": 23384, "val": 1460, "test": 4384},
    "kit": {"train": 4888, "val": 300, "test": 830},
}
SHOWN = 10  # names of each kind of fault
OK, NOTE, WRONG = "ok", "note", "wrong"
Finding = tuple[str, str]  # one of these and a line

# How far Mean.npy may be from the mean of the training clips, in deviations; and Std.npy from theirs, as a factor. The
# published files were computed with the clips of val and test, and with some that no split has.
MEAN_TOLERANCE, STD_TOLERANCE = 0.1, 1.25

# Joints come from features by sums and turns, so they agree to rounding. Features of those joints differ a little:
# the published ones came from the raw skeleton. On one published clip the largest differences are 3e-4 in the root and
# the velocities, 7 mm in the positions and 1.3e-2 in the rotations; ten times that is something else.
JOINTS_TOLERANCE = 0.001  # metres
FEATURE_TOLERANCES = {"root": 4e-3, "positions": 0.07, "rotations": 0.13, "velocities": 4e-3}  # metres, but rotations


@dataclass(frozen=True)
class CheckOptions:
    dataname: str = flag("t2m", "which dataset", choices=tuple(SPECS))
    data_root: str | None = flag(None, "the dataset's folder (default: the dataset's own place)")
    checkpoints: str = flag(str(CHECKPOINTS), "where the published statistics lie")
    clips: int = flag(5, "clips whose features are computed again from new_joints")


@dataclass
class Contents:
    """What reading all files of some names found."""

    faults: dict[str, list[str]] = field(default_factory=dict)  # kind: "NAME: detail"
    usable: dict[str, int] = field(default_factory=dict)  # name: clips that training takes from it, with sub-clips
    frames: dict[str, int] = field(default_factory=dict)  # name: T
    captions: dict[str, int] = field(default_factory=dict)
    sums: np.ndarray | float = 0.0  # [D] over the frames of train
    squares: np.ndarray | float = 0.0
    train_frames: int = 0


def main() -> None:
    options = parse(CheckOptions, __doc__)
    try:
        spec = get_spec(options.dataname)
        folder = dataset_folder(spec, options.data_root)
    except ValueError as error:
        fail(str(error))
    print(f"{spec.name} in {folder}")
    wrong = 0
    for mark, line in findings(spec, folder, Path(options.checkpoints), options.clips):
        print(f"{mark:>5}  {line}", flush=True)
        wrong += mark == WRONG
    print(f"{wrong} things are wrong" if wrong != 1 else "1 thing is wrong")
    sys.exit(1 if wrong else 0)


def findings(spec: DatasetSpec, folder: Path, checkpoints: Path, clips: int) -> Iterator[Finding]:
    """Everything there is to say of a folder, in the order a person would ask."""
    splits, lines = read_splits(folder)
    yield from lines
    yield from check_counts(spec, splits)
    yield from check_overlap(splits)
    contents = read_contents(spec, folder, splits)
    yield from check_contents(spec, folder, splits, contents)
    yield from check_statistics(spec, folder, contents)
    yield from check_published(spec, folder, checkpoints)
    yield from check_joints(spec, folder, [name for name in splits.get("train", []) if name in contents.frames], clips)


# --- Names


def read_splits(folder: Path) -> tuple[dict[str, list[str]], list[Finding]]:
    """The names of the splits there are, and a finding for each that is not."""
    splits, lines = {}, []
    for split in SPLITS:
        try:
            splits[split] = split_names(folder, split)
        except (OSError, ValueError) as error:
            lines.append((WRONG, str(error)))
    return splits, lines


def check_counts(spec: DatasetSpec, splits: dict[str, list[str]]) -> Iterator[Finding]:
    """Numbers of names against those commonly published, and names that a split has twice."""
    published = PUBLISHED_NAMES.get(spec.name, {})
    for split, names in splits.items():
        wanted = published.get(split)
        line = f"{split}.txt has {len(names):,} names"
        if wanted is None:
            yield OK if names else WRONG, line
        elif wanted == len(names):
            yield OK, f"{line}, the number commonly published"
        else:
            yield WRONG, f"{line}; the number commonly published is {wanted:,}, mirrored clips (M...) included"
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            yield WRONG, f"{split}.txt has {len(twice):,} names more than once: {_some(twice)}"
        if published and names and not any(name.startswith("M") for name in names):
            yield WRONG, f"{split}.txt has no mirrored clip (M...)"


def check_overlap(splits: dict[str, list[str]]) -> Iterator[Finding]:
    """Clips that are in two splits, as themselves or with their mirror image in the other."""
    for first, second in combinations(splits, 2):
        shared = set(splits[first]) & set(splits[second])
        mirrored = {_plain(name) for name in splits[first]} & {_plain(name) for name in splits[second]}
        mirrored -= {_plain(name) for name in shared}
        if shared:
            yield WRONG, f"{first} and {second} share {len(shared):,} names: {_some(sorted(shared))}"
        if mirrored:
            yield (
                WRONG,
                f"{first} and {second} share {len(mirrored):,} clips by mirror image: {_some(sorted(mirrored))}",
            )


def _plain(name: str) -> str:
    """A clip's name without the M of its mirror image."""
    return name.removeprefix("M")


# --- Files


def read_contents(spec: DatasetSpec, folder: Path, splits: dict[str, list[str]]) -> Contents:
    """Read the files of every name once, as training will."""
    found = Contents()
    train = set(splits.get("train", []))
    names = list(dict.fromkeys(name for names in splits.values() for name in names))
    for name in tqdm(names, desc="reading", unit="clip", leave=False, disable=None):
        motion_file, text_file = features_path(folder, name), text_path(folder, name)
        missing = [path for path in (motion_file, text_file) if not path.is_file()]
        for path in missing:
            _fault(found, f"{path.parent.name} missing", name)
        motion = None
        if motion_file not in missing:
            try:
                motion = read_motion(motion_file, spec)
            except (OSError, ValueError) as error:
                _fault(found, f"{FEATURES} broken", f"{name}: {error}")
        if motion is None:
            continue
        found.frames[name] = len(motion)
        if name in train:
            exact = motion.astype(np.float64)
            found.sums = found.sums + exact.sum(axis=0)
            found.squares = found.squares + (exact**2).sum(axis=0)
            found.train_frames += len(motion)
        if text_file not in missing:
            try:
                stretches = read_captions(text_file, spec.fps, len(motion))
            except (OSError, ValueError) as error:
                _fault(found, f"{TEXTS} broken", f"{name}: {error}")
                continue
            lengths = [end - start for start, end in stretches]
            found.usable[name] = sum(spec.min_frames <= length <= spec.max_frames for length in lengths)
            found.captions[name] = sum(map(len, stretches.values()))
    return found


def _fault(found: Contents, kind: str, detail: str) -> None:
    found.faults.setdefault(kind, []).append(detail)


def check_contents(spec: DatasetSpec, folder: Path, splits: dict[str, list[str]], found: Contents) -> Iterator[Finding]:
    """What a split gives to train on, and the files that are missing or broken."""
    for split, names in splits.items():
        usable = sum(found.usable.get(name, 0) for name in names)
        yield (
            OK if usable else WRONG,
            f"{split} gives {usable:,} clips of {spec.min_frames} to {spec.max_frames} frames, sub-clips included "
            f"({sum(found.frames.get(name, 0) for name in names):,} frames and "
            f"{sum(found.captions.get(name, 0) for name in names):,} captions in its files)",
        )
    if not found.faults:
        yield OK, f"every name has features [T, {spec.dim}] without nan, and captions"
    for kind, details in sorted(found.faults.items()):
        yield WRONG, f"{len(details):,} names: {kind}: {_some(details)}".replace(f"{folder}/", "")
    known = {name for names in splits.values() for name in names}
    files = [path for path in (folder / FEATURES).glob("*.npy") if not path.name.startswith(".")]
    extra = sorted(path.stem for path in files if path.stem not in known)
    if extra:
        yield NOTE, f"{len(extra):,} files of {FEATURES} are in no split: {_some(extra)}"


def _some(items: list[str]) -> str:
    """The first few of a list."""
    more = f" and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more


# --- Statistics


def check_statistics(spec: DatasetSpec, folder: Path, found: Contents) -> Iterator[Finding]:
    """Mean.npy and Std.npy against the frames of train."""
    try:
        mean, std = read_statistics(folder, spec)
    except (OSError, ValueError) as error:
        yield WRONG, str(error)
        return
    fault = unusable(mean, std)
    if fault:
        yield WRONG, f"Mean.npy and Std.npy: {fault}"
        return
    if not found.train_frames:
        return
    own_mean = found.sums / found.train_frames
    own_std = np.sqrt(np.maximum(found.squares / found.train_frames - own_mean**2, 0.0))
    for group in spec.groups:  # HumanML3D's statistics have one deviation for each group
        own_std[group] = own_std[group].mean()
    off = float((np.abs(own_mean - mean) / std).max())
    ratios = std / np.maximum(own_std, 1e-12)
    fits = off <= MEAN_TOLERANCE and ratios.min() >= 1 / STD_TOLERANCE and ratios.max() <= STD_TOLERANCE
    yield (
        OK if fits else WRONG,
        f"Mean.npy is at most {off:.2g} deviations from the mean of the training clips, Std.npy is {ratios.min():.2f} "
        f"to {ratios.max():.2f} of their deviation" + ("" if fits else ": they are of other data"),
    )


def check_published(spec: DatasetSpec, folder: Path, checkpoints: Path) -> Iterator[Finding]:
    """The statistics that come with the extractors, against the folder's."""
    if not spec.published_statistics:
        return
    try:
        mean, std = published_statistics(spec, checkpoints)
    except (OSError, ValueError) as error:
        if published_paths(spec, checkpoints)[0].parent.is_dir():
            yield WRONG, str(error)
        else:
            yield NOTE, f"{error}; without them training weighs the folder's own"
        return
    fault = unusable(mean, std)
    if fault:
        yield WRONG, f"published statistics: {fault}"
        return
    try:
        own_mean, own_std = read_statistics(folder, spec)
    except (OSError, ValueError):
        return  # said already
    if unusable(own_mean, own_std):
        return
    weighted = np.zeros(spec.dim, bool)
    weighted[spec.root_slice] = weighted[spec.contact_slice] = True
    ratios = own_std / std
    off = float((np.abs(own_mean - mean) / own_std).max())
    wanted = np.where(weighted, spec.root_weight, 1.0)
    fits = off <= MEAN_TOLERANCE and (np.abs(np.log(ratios / wanted)) <= np.log(STD_TOLERANCE)).all()
    yield (
        OK if fits else WRONG,
        f"published statistics: mean at most {off:.2g} deviations from Mean.npy; Std.npy is {_range(ratios[weighted])} "
        f"times theirs in the root and the contacts (expected {spec.root_weight:g}), {_range(ratios[~weighted])} "
        f"elsewhere (expected 1)",
    )


def unusable(mean: np.ndarray, std: np.ndarray) -> str | None:
    """Why nothing can be normalised with these, None where it can."""
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        return "nan or infinite numbers"
    return f"{int((std <= 0).sum())} deviations are not above 0" if (std <= 0).any() else None


def _range(values: np.ndarray) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


# --- Joints


def check_joints(spec: DatasetSpec, folder: Path, names: list[str], count: int) -> Iterator[Finding]:
    """Compute joints from features and features from joints again, for some clips that have both."""
    at = folder / "new_joints"
    names = [name for name in names if (at / f"{name}.npy").is_file()]
    if not names:
        yield NOTE, f"no clip of train has its joints in {at.name}: features are not computed again"
        return
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).astype(int))]
    for name in chosen:
        try:
            fault, line = compare_joints(
                spec, read_motion(features_path(folder, name), spec), load_array(at / f"{name}.npy")
            )
            yield WRONG if fault else OK, f"{name}: {line}"
        except (OSError, ValueError) as error:
            yield WRONG, f"{name}: {error}".replace(f"{folder}/", "")


def compare_joints(spec: DatasetSpec, features: np.ndarray, joints: np.ndarray) -> tuple[bool, str]:
    """Whether features [T, D] and joints [T or T + 1, J, 3] of a clip disagree, and by how much.

    Raises ValueError for joints of another shape.
    """
    if joints.ndim != 3 or joints.shape[1:] != (spec.joints, 3) or len(joints) - len(features) not in (0, 1):
        raise ValueError(f"joints of shape {list(joints.shape)} do not belong to features {list(features.shape)}")
    metres = spec.metres_per_unit
    distance = float(np.abs(features_to_joints(features, spec) - joints[: len(features)]).max()) * metres
    again = joints_to_features(joints, spec)  # one row less than frames
    off = np.abs(again - features[: len(again)])
    off[:, 1 : spec.rotation_slice.start] *= metres
    off[:, spec.velocity_slice] *= metres
    parts = dict(
        zip(FEATURE_TOLERANCES, (spec.root_slice, spec.position_slice, spec.rotation_slice, spec.velocity_slice))
    )
    largest = {part: float(off[:, where].max()) for part, where in parts.items()}
    contacts = float((off[:, spec.contact_slice] > 0.5).mean())
    fault = distance > JOINTS_TOLERANCE or any(largest[part] > most for part, most in FEATURE_TOLERANCES.items())
    figures = ", ".join(f"{part} {value:.1e}" for part, value in largest.items())
    return fault, (
        f"joints from features differ by at most {distance * 1000:.2g} mm; features from joints by {figures} "
        f"(metres and radians), {contacts:.1%} of the contacts"
    )


if __name__ == "__main__":
    main()
