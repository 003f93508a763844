"""A motion as a BVH file for Blender, Maya, MotionBuilder and the like: y up, centimetres, Mixamo's joint names.

Rest pose: a T-pose. Arms lie along x (left is +x), legs hang, the spine stands, each bone as long as it is on average;
hips, shoulders and feet have the directions that they have on average, as seen from the body. The root's OFFSET is
nought, so that programs which add it and programs which replace it agree.

Every joint has position channels besides its rotations. Generated bones do not keep their length: with rotations
alone the joints of the shipped weights' motions would be off by 2 to 28 mm on average, up to 28 cm. Position channels
stand in place of the OFFSET, as in Blender and in `utils.bvh`.

Rotations come from the directions of bones, so the twist of a limb about itself is not the person's.

T frames, J joints. A joint's frame is what its children hang from.
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from dataset.spec import DatasetSpec
from utils import quaternion
from utils.skeleton import bone_lengths

MIXAMO = Path(__file__).resolve().parent.parent / "dataset/prepare/joint_maps/mixamo.json"  # as such files are read too
CENTIMETRES = 100.0  # a metre
ORDER = "ZXY"  # of the rotation channels, the first outermost: what most motion capture has
# Metres from the last joint of a chain to the end of the body: a crown, a finger tip, the tip of a toe.
END_LENGTHS = {"head": 0.18, "wrist": 0.17, "foot": 0.06}


def bvh_names(spec: DatasetSpec) -> list[str]:
    """Mixamo's name of each joint, without its namespace; what Mixamo's skeleton lacks is named alike."""
    mixamo = json.loads(MIXAMO.read_text(encoding="utf-8"))
    return [mixamo.get(name) or name.title().replace("_", "") for name in spec.joint_names]  # "left_heel": LeftHeel


def motion_bvh(joints: np.ndarray, spec: DatasetSpec, fps: float) -> str:
    """The text of a BVH file of joints [T, J, 3] (metres, y up)."""
    joints = np.asarray(joints, dtype=np.float64)
    offsets, frames = body_frames(joints, spec)
    children, names = children_of(spec), bvh_names(spec)
    lines, order = ["HIERARCHY"], []

    def write_joint(joint: int, depth: int) -> None:
        pad, inner = "  " * depth, "  " * (depth + 1)
        order.append(joint)
        lines.append(f"{pad}{'JOINT' if depth else 'ROOT'} {names[joint]}")
        lines.append(f"{pad}{{")
        lines.append(f"{inner}OFFSET {_numbers(offsets[joint] * CENTIMETRES)}")
        turns = " ".join(f"{axis}rotation" for axis in ORDER)
        lines.append(f"{inner}CHANNELS 6 Xposition Yposition Zposition {turns}")
        for child in children[joint]:
            write_joint(child, depth + 1)
        if not children[joint]:
            end = _numbers(_end_offset(joint, offsets, spec) * CENTIMETRES)
            lines.extend((f"{inner}End Site", f"{inner}{{", f"{inner}  OFFSET {end}", f"{inner}}}"))
        lines.append(f"{pad}}}")

    write_joint(0, 0)
    channels = np.concatenate([_channels(joint, joints, frames, spec) for joint in order], axis=-1)  # [T, 6 J]
    lines += ["MOTION", f"Frames: {len(joints)}", f"Frame Time: {1 / fps:.8g}"]
    lines += [_numbers(row) for row in channels]
    return "\n".join(lines) + "\n"


def children_of(spec: DatasetSpec) -> list[list[int]]:
    """The joints that hang from each joint."""
    children = [[] for _ in spec.parents]
    for joint, parent in enumerate(spec.parents):
        if parent >= 0:
            children[parent].append(joint)
    return children


def body_frames(joints: np.ndarray, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Rest offsets [J, 3] and frames [T, J, 3, 3] (columns are axes in the world) of joints [T, J, 3].

    In the rest pose all frames are the world's axes.
    """
    lengths = np.append(0.0, bone_lengths(joints, spec).mean(axis=0))  # [J]
    children = children_of(spec)
    offsets, frames = np.zeros((spec.joints, 3)), np.zeros((*joints.shape, 3))

    def visit(joint: int, hung: np.ndarray) -> None:
        """Give `joint`, which hangs from frames [T, 3, 3], its own frames, and its children their offsets."""
        bones = {child: joints[:, child] - joints[:, joint] for child in children[joint]}
        frames[:, joint] = hung
        if len(bones) == 1:
            ((child, bone),) = bones.items()
            seen = _turn(np.swapaxes(hung, -1, -2), bone)
            offsets[child] = lengths[child] * _rest_direction(child, seen, spec)
            turn = quaternion.between(_turn(hung, offsets[child]), bone)
            frames[:, joint] = quaternion.to_matrix(turn) @ hung
        elif bones:
            frames[:, joint] = _trunk_frames(bones, hung, spec)
            for child, bone in bones.items():
                seen = _turn(np.swapaxes(frames[:, joint], -1, -2), bone)
                offsets[child] = lengths[child] * _unit(seen.mean(axis=0), (0.0, 1.0, 0.0))
        for child in children[joint]:
            visit(child, frames[:, joint])

    visit(0, np.broadcast_to(np.eye(3), frames[:, 0].shape))
    return offsets, frames


def _trunk_frames(bones: dict[int, np.ndarray], hung: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """Frames [T, 3, 3] of a joint from which two limbs and the trunk hang: x from right to left, y along the trunk."""
    side = {spec.side(child): bone for child, bone in bones.items()}
    across = _unit(side["left"] - side["right"], hung[..., 0])
    along = side["middle"] - np.sum(side["middle"] * across, axis=-1, keepdims=True) * across
    along = _unit(along, np.cross(hung[..., 2], across))
    return np.stack((across, along, np.cross(across, along)), axis=-1)


def _rest_direction(joint: int, seen: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[3] of the bone that ends in a joint, in the T-pose. `seen` [T, 3] is the bone as its limb's frame has it."""
    part = spec.joint_names[joint].rpartition("_")[2]
    if part in ("shoulder", "elbow", "wrist"):
        return np.array([1.0 if spec.side(joint) == "left" else -1.0, 0.0, 0.0])
    if part in ("knee", "ankle"):
        return np.array([0.0, -1.0, 0.0])
    if part in ("heel", "foot"):  # as the ankle is bent on average: about as it is when one stands
        return _unit(seen.mean(axis=0) * (0.0, 1.0, 1.0), (0.0, 0.0, 1.0))
    return np.array([0.0, 1.0, 0.0])


def _end_offset(joint: int, offsets: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[3] from the last joint of a chain to its end, on along its last bone."""
    part = spec.joint_names[joint].rpartition("_")[2]
    return END_LENGTHS[part] * _unit(offsets[joint], (0.0, 1.0, 0.0))


def _channels(joint: int, joints: np.ndarray, frames: np.ndarray, spec: DatasetSpec) -> np.ndarray:
    """[T, 6] place (cm) and angles (degrees) of a joint in the frame it hangs from."""
    parent = spec.parents[joint]
    place, turn = joints[:, joint], frames[:, joint]
    if parent >= 0:
        back = np.swapaxes(frames[:, parent], -1, -2)
        place, turn = _turn(back, place - joints[:, parent]), back @ turn
    angles = Rotation.from_matrix(turn).as_euler(ORDER, degrees=True, suppress_warnings=True)
    return np.concatenate((place * CENTIMETRES, np.unwrap(angles, axis=0, period=360)), axis=-1)


def _turn(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] turned by matrices [..., 3, 3]."""
    return np.einsum("...ij,...j->...i", matrices, vectors)


def _unit(vectors: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """Directions of vectors [..., 3], `instead` [..., 3] of those without a length."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length < 1e-9, instead, vectors / np.maximum(length, 1e-9))


def _numbers(values: np.ndarray) -> str:
    """Micrometres and millionths of a degree: far below what the joints themselves are exact to."""
    return " ".join(f"{value:.6f}" for value in values + 0.0)  # no "-0.000000"
