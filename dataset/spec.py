"""What is particular to each dataset: the only place that knows the names "t2m", "kit" and "bandai".

A `DatasetSpec` says how a skeleton is built, how fast it moves and where its files lie. Everything else in the project
takes a spec and asks it. Figures: `spec/data.md` 1, 3 and 4 of the project's specification.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

AXES = {"x": 0, "y": 1, "z": 2}


def _directions(text: str) -> tuple[tuple[int, int, int], ...]:
    """ "+x -y" to unit vectors, the root's own (0, 0, 0) first."""
    vectors = [(0, 0, 0)]
    for word in text.split():
        vector = [0, 0, 0]
        vector[AXES[word[1]]] = 1 if word[0] == "+" else -1
        vectors.append(tuple(vector))
    return tuple(vectors)


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset's skeleton, rate and folder. Lengths are in the dataset's own unit, `metres_per_unit` metres each."""

    name: str
    folder: str
    fps: float
    metres_per_unit: float
    joint_names: tuple[str, ...]
    chains: tuple[tuple[int, ...], ...]  # from the root (or a joint of an earlier chain) outwards
    rest_directions: tuple[tuple[int, int, int], ...]  # [J, 3] of a bone seen from its parent
    bone_lengths: tuple[float, ...] | None  # [J - 1] of joints 1..; None keeps the source's own
    face_joints: tuple[int, int, int, int]  # right hip, left hip, right shoulder, left shoulder
    leg_bones: tuple[int, int]  # the two joints whose bones set the scale of the root path
    right_foot: tuple[int, int]  # ankle, foot
    left_foot: tuple[int, int]
    foot_threshold: float  # squared displacement per frame, in units squared, under which a foot is in contact
    lower_joints: tuple[int, ...]  # with the root first: what the upper-body model takes as given
    min_frames: int  # clips shorter than this are not used
    max_frames: int = 199  # nor longer ones
    # Root features and contacts count this much more than their spread says when a tokenizer is trained: an error of
    # the root's turn or path adds up over the frames, one of a joint's place does not. The published factor is 5 x 5.
    root_weight: float = 25.0
    published_statistics: str | None = None  # their folder under checkpoints/, with the extractors
    published_judge: str | None = None  # the judge's file under checkpoints/
    kind_pattern: str | None = None  # what clips of one kind share in their names, where names tell (a regex group)

    @property
    def joints(self) -> int:
        return len(self.joint_names)

    def kind(self, name: str) -> str | None:
        """The kind of a clip by its name, None where names do not tell; a clip and its mirror image are of one kind."""
        found = re.search(self.kind_pattern, name) if self.kind_pattern else None
        return found.group(1) if found else None

    @property
    def dim(self) -> int:
        """Width of the feature vector: 4 + 3(J-1) + 6(J-1) + 3J + 4 (263 for 22 joints, 251 for 21)."""
        return 4 + 9 * (self.joints - 1) + 3 * self.joints + 4

    @cached_property
    def parents(self) -> tuple[int, ...]:
        parents = [-1] * self.joints
        for chain in self.chains:
            for parent, joint in zip(chain, chain[1:]):
                parents[joint] = parent
        return tuple(parents)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """[J] index of the joint on the other side (itself on the spine)."""
        other = {"left": "right", "right": "left"}
        names = list(self.joint_names)
        return tuple(
            names.index(f"{other[name.split('_')[0]]}_{name.split('_', 1)[1]}") if name.split("_")[0] in other else i
            for i, name in enumerate(names)
        )

    def side(self, joint: int) -> str:
        """ "left", "right" or "middle"."""
        word = self.joint_names[joint].split("_")[0]
        return word if word in ("left", "right") else "middle"

    # Slices of the feature vector (spec/data.md 2).

    @property
    def root_slice(self) -> slice:
        return slice(0, 4)

    @property
    def position_slice(self) -> slice:
        return slice(4, 4 + 3 * (self.joints - 1))

    @property
    def rotation_slice(self) -> slice:
        return slice(self.position_slice.stop, self.position_slice.stop + 6 * (self.joints - 1))

    @property
    def velocity_slice(self) -> slice:
        return slice(self.rotation_slice.stop, self.rotation_slice.stop + 3 * self.joints)

    @property
    def contact_slice(self) -> slice:
        return slice(self.dim - 4, self.dim)

    @property
    def lower_features(self) -> tuple[int, ...]:
        """Features of the lower body: the root's, those of the lower joints in each slice, and the contacts."""
        others = [joint - 1 for joint in self.lower_joints if joint]  # the root has no position and rotation of its own
        columns = [
            *range(self.root_slice.stop),
            *(self.position_slice.start + 3 * joint + axis for joint in others for axis in range(3)),
            *(self.rotation_slice.start + 6 * joint + number for joint in others for number in range(6)),
            *(self.velocity_slice.start + 3 * joint + axis for joint in self.lower_joints for axis in range(3)),
            *range(self.contact_slice.start, self.dim),
        ]
        return tuple(columns)

    @property
    def upper_heights(self) -> tuple[int, ...]:
        """Features that are the height of an upper joint."""
        upper = [joint for joint in range(self.joints) if joint not in self.lower_joints]
        return tuple(self.position_slice.start + 3 * (joint - 1) + 1 for joint in upper)

    @property
    def groups(self) -> tuple[slice, ...]:
        """Features that share one standard deviation: HumanML3D's own grouping of the vector."""
        return (
            slice(0, 1), slice(1, 3), slice(3, 4),
            self.position_slice, self.rotation_slice, self.velocity_slice, self.contact_slice,
        )  # fmt: skip

    def rest_offsets(self, lengths: np.ndarray | None = None) -> np.ndarray:
        """[J, 3] of each joint from its parent in the rest pose, for bone lengths [J-1] (default: the spec's own)."""
        lengths = np.asarray(self.bone_lengths if lengths is None else lengths)
        offsets = np.array(self.rest_directions, dtype=np.float64)
        offsets[1:] *= lengths[:, None]
        return offsets


_SMPL = dict(
    joint_names=(
        "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
        "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
        "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    ),
    chains=((0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20)),
    rest_directions=_directions("+x -x +y -y -y +y -y -y +y +z +z +y +x -x +z -y -y -y -y -y -y"),
    bone_lengths=(
        0.1030739, 0.1098834, 0.1315683, 0.3936231, 0.3901881, 0.1431903, 0.4324330, 0.4256433, 0.0573647,
        0.1433817, 0.1494187, 0.2193600, 0.1374868, 0.1433828, 0.1030393, 0.1316140, 0.1229843, 0.2568398,
        0.2630919, 0.2660119, 0.2698763,
    ),
    face_joints=(2, 1, 17, 16),
    leg_bones=(5, 8),
    right_foot=(8, 11),
    left_foot=(7, 10),
    foot_threshold=0.002,
    lower_joints=(0, 1, 2, 4, 5, 7, 8, 10, 11),
    metres_per_unit=1.0,
    fps=20.0,
)  # fmt: skip

_STATISTICS, _JUDGE = "{}/VQVAEV3_CB1024_CMT_H1024_NRES3/meta", "{}/text_mot_match/model/finest.tar"
T2M = DatasetSpec(
    name="t2m",
    folder="dataset/HumanML3D",
    min_frames=40,
    published_statistics=_STATISTICS.format("t2m"),
    published_judge=_JUDGE.format("t2m"),
    **_SMPL,
)
BANDAI = DatasetSpec(
    name="bandai",
    folder="dataset/BandaiNamco",
    min_frames=40,
    root_weight=5.0,
    kind_pattern=r"dataset-[12]_([a-z-]+)_[a-z-]+_\d+",
    **_SMPL,
)
KIT = DatasetSpec(
    name="kit",
    folder="dataset/KIT-ML",
    fps=12.5,
    metres_per_unit=0.001,
    joint_names=(
        "pelvis", "spine1", "spine2", "neck", "head", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
        "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "right_heel", "right_foot", "left_hip",
        "left_knee", "left_ankle", "left_heel", "left_foot",
    ),
    chains=((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10)),
    rest_directions=_directions("+y +y +y +y +x -y -y -x -y -y +x -y -y +z +z -x -y -y +z +z"),
    bone_lengths=None,
    face_joints=(11, 16, 5, 8),
    leg_bones=(17, 18),
    right_foot=(14, 15),
    left_foot=(19, 20),
    foot_threshold=0.05,
    lower_joints=(0, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20),
    min_frames=24,
    published_statistics=_STATISTICS.format("kit"),
    published_judge=_JUDGE.format("kit"),
)  # fmt: skip

SPECS = {spec.name: spec for spec in (T2M, KIT, BANDAI)}


def get_spec(name: str) -> DatasetSpec:
    """The spec of that name; `ValueError` names those there are."""
    if name not in SPECS:
        raise ValueError(f"unknown dataset {name!r}: choose one of {', '.join(SPECS)}")
    return SPECS[name]


def spec_of_width(dim: int) -> DatasetSpec:
    """A spec whose feature vectors are this wide, for files that say no more; ValueError where there is none."""
    for spec in SPECS.values():
        if spec.dim == dim:
            return spec
    raise ValueError(f"no skeleton has {dim} features")
