"""Anybody's BVH files to HumanML3D features.

    python -m dataset.prepare.bvh walk.bvh dance.bvh --out output/bvh

Skeletons with the joint names of Mixamo, CMU (cgspeed's conversion) and Bandai-Namco are recognised. For any other, say
with --joint-map where the 22 joints are; a file like dataset/prepare/joint_maps/cmu.json:

    {"pelvis": "Hips", "spine1": ["Hips", "Spine", 0.6], ...}

names a joint of the file, or a point that lies a share of the way from one to another. An End Site is called
"<parent> end". Written are NAME.npy, [T, 263] at 20 fps, and with --joints NAME_joints.npy, [T + 1, 22, 3] of the
file's own body in metres, y up. The features do not depend on the unit: they are of one uniform skeleton.

F frames at the file's rate. Axes of a body: y up, +x to its left when it faces +z.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.prepare.bandai import SOURCE_JOINTS
from dataset.prepare.resample import resample
from dataset.spec import T2M
from options.flags import Parser
from utils.bvh import Bvh, joint_positions, read_bvh
from utils.errors import fail, stoppable
from utils.files import write_whole
from utils.motion import joints_to_features
from utils.skeleton import bone_lengths

JointMap = dict[str, str | list]  # joint of the spec -> joint of the file, or [from, to, share of the way]

MAPS_FOLDER = Path(__file__).with_name("joint_maps")
# "mixamorig:Hips", "mixamorig1_Hips" or "Character1:Hips" are all a Hips.
NAMESPACE = re.compile(r"^(?:.*:)?(?:mixamorig\d*_)?")
METRES = {
    "metres": 1.0,
    "centimetres": 0.01,
    "millimetres": 0.001,
    "inches": 0.0254,
    "CMU's unit of 1/0.45 inch": 0.0254 / 0.45,
}
# Bones that, added up, tell a body's size in any pose: one leg's, then the spine's up to the head.
SIZE_BONES = [T2M.joint_names.index(name) for name in (
    "left_knee", "left_ankle", "spine1", "spine2", "spine3", "neck", "head",
)]  # fmt: skip


def known_maps() -> dict[str, JointMap]:
    """The joint maps of the skeletons that are recognised, by name."""
    # spine1 and spine2 as dataset.prepare.bandai places them
    maps = {"bandai": SOURCE_JOINTS | {"spine1": ["Hips", "Spine", 0.6], "spine2": ["Spine", "Chest", 0.5]}}
    for path in sorted(MAPS_FOLDER.glob("*.json")):
        maps[path.stem] = read_map(path)
    return maps


def read_map(path: Path) -> JointMap:
    """A joint map from a JSON file. Raises ValueError, naming the file, where it does not place all 22 joints."""
    try:
        joint_map = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(joint_map, dict):
        raise ValueError(f'{path} is no joint map: it should look like {{"pelvis": "Hips", ...}}')
    if missing := [name for name in T2M.joint_names if name not in joint_map]:
        raise ValueError(f"{path} does not place {', '.join(missing)}")
    if strange := sorted(joint_map.keys() - set(T2M.joint_names)):
        raise ValueError(f"{path} places {', '.join(strange)}, but the joints are {', '.join(T2M.joint_names)}")
    for name, place in joint_map.items():
        between = isinstance(place, list) and len(place) == 3 and type(place[2]) in (int, float)
        if not all(isinstance(word, str) for word in (place[:2] if between else [place])):
            raise ValueError(f"{path}: {name} should be a joint's name or [from, to, share], not {json.dumps(place)}")
    return joint_map


def wanted_joints(joint_map: JointMap) -> set[str]:
    """The file's joints that a map uses."""
    return {name for place in joint_map.values() for name in (place[:2] if isinstance(place, list) else [place])}


def file_joints(bvh: Bvh) -> dict[str, int]:
    """Index of each joint by its name, and by its name without namespace; of two bodies in a file the first counts."""
    index = {}
    for i, name in enumerate(bvh.names):
        index.setdefault(NAMESPACE.sub("", name), i)
    return index | {name: i for i, name in enumerate(bvh.names)}


def missing_joints(bvh: Bvh, joint_map: JointMap) -> list[str]:
    """The joints that the map uses and the file has not."""
    return sorted(wanted_joints(joint_map) - file_joints(bvh).keys())


def recognise(bvh: Bvh) -> tuple[str, JointMap]:
    """Name and map of the known skeleton that the file has; ValueError names what the nearest one lacks."""
    maps = known_maps()
    missing = {name: missing_joints(bvh, joint_map) for name, joint_map in maps.items()}
    nearest = min(missing, key=lambda name: len(missing[name]) / len(wanted_joints(maps[name])))
    if missing[nearest]:
        raise ValueError(
            f"its skeleton is not a known one (nearest is {nearest}'s, but it has no joint "
            f"{', '.join(missing[nearest])}): say where the joints are with --joint-map"
        )
    return nearest, maps[nearest]


def body_joints(bvh: Bvh, joint_map: JointMap) -> np.ndarray:
    """The 22 joints [F, 22, 3] that a map places, in the file's unit and axes.

    Raises ValueError where the file lacks a joint of the map, or a bone that gives a direction has no length.
    """
    if missing := missing_joints(bvh, joint_map):
        raise ValueError(f"it has no joint {', '.join(missing)}, which the joint map uses")
    positions, index = joint_positions(bvh), file_joints(bvh)

    def at(place: str | list) -> np.ndarray:
        if isinstance(place, str):
            return positions[:, index[place]]
        start, end, share = place
        return at(start) + share * (at(end) - at(start))

    joints = np.stack([at(joint_map[name]) for name in T2M.joint_names], axis=1)
    lengths = bone_lengths(joints[0], T2M)
    for joint in range(1, T2M.joints):
        # the direction of such a bone would be rounding noise
        if lengths[joint - 1] <= 1e-4 * lengths.sum():
            name, parent = T2M.joint_names[joint], T2M.joint_names[T2M.parents[joint]]
            raise ValueError(f"{name} lies where {parent} does: place one of them between two joints with --joint-map")
    return joints


def guess_unit(joints: np.ndarray) -> str:
    """The unit of METRES in which a body [F, 22, 3] is nearest to a grown person's size."""
    size = bone_lengths(joints[0], T2M)[[bone - 1 for bone in SIZE_BONES]].sum()
    person = sum(T2M.bone_lengths[bone - 1] for bone in SIZE_BONES)
    return min(METRES, key=lambda unit: abs(np.log(size * METRES[unit] / person)))


def y_up(joints: np.ndarray, up: str) -> np.ndarray:
    """Joints [..., 3] with y up, turned from z up about x, so that left stays left."""
    return joints[..., [0, 2, 1]] * [1.0, 1.0, -1.0] if up == "z" else joints


def convert(
    path: Path, joint_map: JointMap | None = None, scale: float | None = None, up: str = "y"
) -> tuple[np.ndarray, np.ndarray, str]:
    """Features [T, 263], joints [T + 1, 22, 3] in metres at 20 fps, and a word on what the file was taken for.

    `scale` is metres per unit of the file. Raises ValueError, naming the file, for one that cannot be used.
    """
    bvh = read_bvh(path)
    try:
        skeleton, joint_map = ("mapped", joint_map) if joint_map else recognise(bvh)
        joints = body_joints(bvh, joint_map)
        unit = f"{scale} m a unit" if scale else guess_unit(joints)
        joints = y_up(joints, up) * (scale or METRES[unit])
        joints = resample(joints, bvh.fps, T2M.fps)
        return joints_to_features(joints, T2M), joints, f"{skeleton} skeleton, {unit}, {bvh.fps:.4g} fps"
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def prepare(
    files: list[Path], out: Path, joint_map: JointMap | None, scale: float | None, up: str, joints: bool
) -> None:
    """Convert every file, printing what is written. Raises ValueError at the end where some could not be."""
    by_name = {}
    for path in files:
        if path.stem in by_name:
            raise ValueError(f"{by_name[path.stem]} and {path} would both be written to {out / path.stem}.npy")
        by_name[path.stem] = path
    broken = []
    for name, path in tqdm(by_name.items(), desc="bvh", unit="file", disable=True if len(files) == 1 else None):
        try:
            features, own_joints, taken_for = convert(path, joint_map, scale, up)
        except (OSError, ValueError) as error:
            broken.append(str(error))
            continue
        if joints:
            write_whole(out / f"{name}_joints.npy", lambda file, a=own_joints: np.save(file, a.astype(np.float32)))
        tqdm.write(str(write_whole(out / f"{name}.npy", lambda file, a=features: np.save(file, a))))
        tqdm.write(f"{name}: {taken_for}, {len(features)} frames of features", file=sys.stderr)
    if len(files) == 1 and broken:
        raise ValueError(broken[0])
    if broken:
        for reason in broken:
            print(f"skipped {' '.join(reason.split())}", file=sys.stderr)
        raise ValueError(f"{len(broken)} of {len(files)} files could not be used")


def add_skeleton_flags(parser: argparse.ArgumentParser) -> None:
    """What a BVH file does not say, or not surely."""
    parser.add_argument("--joint-map", type=Path, help="JSON file that says where the 22 joints are")
    parser.add_argument("--scale", type=float, help="metres per unit of the file (default: guessed from the body)")
    parser.add_argument("--up", choices=("y", "z"), default="y", help="the file's vertical axis")


def skeleton_flags(args: argparse.Namespace) -> tuple[JointMap | None, float | None, str]:
    """The joint map, scale and vertical axis that were given. Raises ValueError for a scale or a map that is none."""
    if args.scale is not None and not 0 < args.scale < float("inf"):
        raise ValueError(f"--scale is metres per unit of the file, such as 0.01 for centimetres, not {args.scale}")
    return read_map(args.joint_map) if args.joint_map else None, args.scale, args.up


@stoppable
def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("output/bvh"))
    add_skeleton_flags(parser)
    parser.add_argument("--joints", action="store_true", help="write the joints too")
    args = parser.parse_args()
    try:
        prepare(args.files, args.out, *skeleton_flags(args), args.joints)
    except (ValueError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
