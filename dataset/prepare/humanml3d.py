"""HumanML3D from AMASS archives, the SMPL-H body model and HumanML3D's own index.csv and texts.

    python -m dataset.prepare.humanml3d --amass AMASS_FOLDER --body-model smplh --index index.csv \\
        --texts texts.zip --splits HumanML3D --humanact12 humanact12

AMASS_FOLDER holds the sub-datasets' archives (KIT.tar.bz2, ...: SMPL+H G) or what they hold; archives are read as a
stream and never unpacked. `smplh` is the "extended SMPL+H model" of the MANO site: male/model.npz, female/model.npz.
index.csv, texts.zip and the split files are in HumanML3D's repository; the clips of HumanAct12 come with joints of
their own. What was written before is kept, so an interrupted run goes on where it stopped. As in HumanML3D, it writes

    new_joint_vecs/NAME.npy  features [T, 263]        new_joints/NAME.npy  their joints [T, 22, 3], metres, y up
    texts/NAME.txt           Mean.npy Std.npy         train.txt val.txt test.txt ...

and M + NAME for every clip's mirror image. F frames, N frames of an AMASS file at its own rate.
"""

import argparse
import contextlib
import csv
import io
import shutil
import sys
import tarfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import smplx
import torch
from smplx.lbs import batch_rigid_transform, batch_rodrigues, vertices2joints
from smplx.utils import Struct
from tqdm import tqdm

from dataset.prepare import layout
from dataset.spec import T2M
from options.flags import Parser
from utils.errors import fail, stoppable
from utils.files import BROKEN_ARCHIVE, check_zip, write_text, write_whole
from utils.motion import features_to_joints, joints_to_features, mirror_joints
from utils.runtime import pick_device

Key = tuple[str, ...]  # where a sequence lies, from its sub-dataset to its name without suffix

JOINTS = "new_joints"
SPLITS = ("train", "val", "test", "train_val", "all")
HUMANACT12 = "humanact12"
BODY_FRAMES = 512  # that the body model poses at once
POSE_DIM = 156  # SMPL-H: 52 joints, the 22 of the body first
NUM_BETAS = 10  # of AMASS's 16, as HumanML3D was made

# index.csv keeps the sub-datasets' names of AMASS's first release. Archives have others, and so have later releases.
FIRST_NAMES = {
    "BMLrub": "BioMotionLab_NTroje", "DFaust": "DFaust_67", "EyesJapanDataset": "Eyes_Japan_Dataset",
    "HDM05": "MPI_HDM05", "MPIHDM05": "MPI_HDM05", "PosePrior": "MPI_Limits", "MPILimits": "MPI_Limits",
    "MoSh": "MPI_mosh", "MPImosh": "MPI_mosh", "SSM": "SSM_synced", "SSMsynced": "SSM_synced",
    "TCDHands": "TCD_handMocap", "TCDhandMocap": "TCD_handMocap", "Transitions": "Transitions_mocap",
    "Transitionsmocap": "Transitions_mocap",
}  # fmt: skip
# Sequences of these begin with a T-pose or a calibration; the index counts its frames after so many seconds.
SECONDS_CUT = {
    "Eyes_Japan_Dataset": 3.0, "MPI_HDM05": 3.0, "TotalCapture": 1.0, "MPI_Limits": 1.0, "Transitions_mocap": 0.5,
}  # fmt: skip
# AMASS has z up. HumanML3D exchanges y and z and then negates x: two reflections, so together a rotation (determinant
# +1) and left stays left. The exchange alone would have made mirror images. Columns: where x, y and z go.
TO_Y_UP = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])

BROKEN_FILE = (*BROKEN_ARCHIVE, KeyError, OSError)  # a file that is no motion; an .npz is a zip


@dataclass(frozen=True)
class Clip:
    """A row of index.csv: frames [start:end] at 20 fps of the sequence at `source`."""

    name: str
    source: Key
    start: int
    end: int


# --- index.csv and names


def sequence_key(parts: tuple[str, ...]) -> Key:
    """A path's parts with the sub-datasets' first names, no suffix, and no folder twice in a row (KIT/KIT/3)."""
    *folders, name = (part.replace(" ", "_") for part in parts)
    key = []
    for part in (
        *(FIRST_NAMES.get(folder, folder) for folder in folders),
        name.removesuffix(".npz").removesuffix(".npy"),
    ):
        if not key or part != key[-1]:
            key.append(part)
    return tuple(key)


def read_index(path: Path) -> list[Clip]:
    """The clips of an index.csv. Raises ValueError for a file that is none, naming the row."""
    clips = []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file)
        columns = {"source_path", "start_frame", "end_frame", "new_name"}
        if missing := sorted(columns - set(rows.fieldnames or ())):
            raise ValueError(f"{path} is not HumanML3D's index.csv: it has no column {', '.join(missing)}")
        for number, row in enumerate(rows, start=2):
            parts = PurePosixPath(row["source_path"] or "").parts
            parts = parts[parts.index("pose_data") + 1 :] if "pose_data" in parts else parts
            # a name only, wherever the index says the file should go
            name = PurePosixPath(row["new_name"] or "").name.removesuffix(".npy")
            try:
                clips.append(Clip(name, sequence_key(parts), int(row["start_frame"]), int(row["end_frame"])))
            except (TypeError, ValueError):
                name = ""
            if not name:
                raise ValueError(f"{path}: line {number} is not source_path, start_frame, end_frame, new_name")
    if not clips:
        raise ValueError(f"{path} lists no clips")
    return clips


def is_done(out: Path, clip: Clip) -> bool:
    """Whether both images of a clip are written: the mirror's features are the last of it."""
    return layout.features_path(out, f"M{clip.name}").exists()


# --- AMASS


def find_archives(sources: list[Path]) -> tuple[list[Path], list[Path]]:
    """The folders, and the tar archives, given or in folders. Raises ValueError for a path that is neither."""
    folders = [source for source in sources if source.is_dir()]
    archives = [source for source in sources if not source.is_dir()]
    for source in archives:
        if not source.exists():
            raise ValueError(f"there is no {source}")
    for folder in folders:
        archives += sorted(path for path in folder.rglob("*") if ".tar" in path.suffixes[-2:] and path.is_file())
    return folders, archives


def find_sequences(
    sources: list[Path], wanted: dict[Key, list[Clip]], datasets: set[str]
) -> Iterator[tuple[Key, str, bytes]]:
    """(key, where, bytes) of every wanted .npz in folders and tar archives; nothing is unpacked.

    A key that the caller takes out of `wanted` is not sought again, and an archive named after one of the index's
    sub-datasets of which nothing is wanted any more is not opened: bz2 takes its time. Raises ValueError for an archive
    that is damaged.
    """
    folders, archives = find_archives(sources)

    def match(parts: tuple[str, ...]) -> Key | None:
        """A path is a sequence's when it ends as the sequence's key does."""
        key = sequence_key(parts)
        return next((key[i:] for i in range(len(key)) if key[i:] in wanted), None)

    for folder in folders:
        for path in sorted(folder.resolve().rglob("*.npz")):
            if key := match(path.parts[1:]):
                try:
                    data = path.read_bytes()
                except OSError:
                    data = b""  # told as broken by who reads it
                yield key, str(path), data
    for archive in archives:
        stem = archive.name.split(".tar")[0]
        if not wanted or FIRST_NAMES.get(stem, stem) in datasets - {key[0] for key in wanted}:
            continue
        try:
            # read front to back; not mode "r|*", which takes only the first of the streams that pbzip2 writes
            with tarfile.open(archive) as members:
                for member in members:
                    if not wanted:
                        break
                    if not member.isfile() or not member.name.endswith(".npz"):
                        continue
                    if key := match((stem, *PurePosixPath(member.name).parts)):
                        yield key, f"{archive}: {member.name}", members.extractfile(member).read()
        except (OSError, *BROKEN_ARCHIVE) as error:
            raise ValueError(f"the archive {archive} is damaged ({error}): fetch it again") from error


@dataclass(frozen=True)
class Sequence:
    """What the joints of an AMASS file depend on, at 20 fps."""

    pose: np.ndarray  # [F, 22, 3] axis and angle, the pelvis's first
    translation: np.ndarray  # [F, 3] metres, z up
    betas: np.ndarray  # [<= 10] the body's shape
    male: bool


def read_sequence(data: bytes) -> Sequence:
    """An AMASS .npz thinned to 20 fps. Raises one of BROKEN_FILE for anything else."""
    if not data.startswith(b"PK"):
        raise ValueError("it is no .npz file")
    check_zip(io.BytesIO(data))
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        rate_name = next((name for name in ("mocap_framerate", "mocap_frame_rate") if name in arrays), None)
        if missing := [name for name in ("poses", "trans", "betas", "gender") if name not in arrays]:
            raise ValueError(f"it has no {', '.join(missing)}")
        if rate_name is None:
            raise ValueError("it has no mocap_framerate")
        rate, gender = float(arrays[rate_name].item()), arrays["gender"].item()
        poses, translation = arrays["poses"], arrays["trans"]
        betas = arrays["betas"].reshape(-1)[:NUM_BETAS].astype(np.float32)
    if poses.ndim != 2 or poses.shape[1] != POSE_DIM or translation.shape != (len(poses), 3):
        raise ValueError(
            f"poses {list(poses.shape)} and trans {list(translation.shape)} are not SMPL-H's [N, {POSE_DIM}] and [N, 3]"
        )
    if not 0 < rate < 10_000:
        raise ValueError(f"its frame rate is {rate}")
    # Every stride-th frame, rounded down: the index counts these frames, also where 250 fps make 20.8 of them a second.
    stride = max(1, int(rate / T2M.fps))
    pose = poses[::stride, : 3 * T2M.joints].reshape(-1, T2M.joints, 3)
    gender = gender.decode(errors="replace") if isinstance(gender, bytes) else str(gender)
    return Sequence(pose, translation[::stride], betas, gender.strip().lower() == "male")


# --- The body model


def find_body_model(folder: Path, gender: str) -> Path:
    """The .npz of a gender's SMPL-H; ValueError says what was looked for."""
    if folder.is_file():
        return folder  # one model for everybody
    names = (f"{gender}/model.npz", f"smplh/{gender}/model.npz", f"SMPLH_{gender.upper()}.npz")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"there is no {gender} SMPL-H model in {folder}: looked for {', '.join(names)}. "
        "It is the 'extended SMPL+H model' (.npz) of https://mano.is.tue.mpg.de"
    )


def load_body_model(path: Path, device: torch.device) -> smplx.SMPLH:
    """An SMPL-H model from its .npz. Raises ValueError, naming the file, for anything else.

    Read here and handed to smplx as arrays: smplx itself would unpickle, which can run whatever a file says.
    """
    names = (
        "v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f",
        "hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr",
    )  # fmt: skip
    try:
        check_zip(path)
        with np.load(path, allow_pickle=False) as arrays:
            data = Struct(**{name: arrays[name] for name in names})
        # smplx prints that there are fewer than 300 shape coefficients, which SMPL-H never has
        with contextlib.redirect_stdout(io.StringIO()):
            body = smplx.SMPLHLayer(str(path), data_struct=data, num_betas=NUM_BETAS, use_pca=False)
    except (*BROKEN_FILE, AttributeError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is not an SMPL-H model in .npz form: {error}") from error
    if body.J_regressor.shape[0] != POSE_DIM // 3:
        raise ValueError(f"{path} is no SMPL-H model: it has {body.J_regressor.shape[0]} joints, not {POSE_DIM // 3}")
    return body.to(device).eval()


@torch.no_grad()
def body_joints(body: smplx.SMPLH, sequence: Sequence) -> np.ndarray:
    """Joints [F, 22, 3] of a sequence, metres, z up, float32.

    Only the bones are posed, not the 6,890 vertices of the skin: joints come before it, whole batches a thousand times
    faster. Soft tissue (DMPL) and hands move none of these joints.
    """
    device = body.v_template.device
    betas = torch.zeros(1, body.num_betas, device=device)
    betas[0, : len(sequence.betas)] = torch.from_numpy(sequence.betas[: body.num_betas])
    shaped = body.forward_shape(betas=betas).v_shaped  # [1, vertices, 3]
    rest = vertices2joints(body.J_regressor, shaped)[:, : T2M.joints]  # [1, 22, 3]
    joints = []
    for first in range(0, len(sequence.pose), BODY_FRAMES):
        pose, translation = (
            torch.from_numpy(array[first : first + BODY_FRAMES].astype(np.float32)).to(device)
            for array in (sequence.pose, sequence.translation)
        )
        turns = batch_rodrigues(pose.reshape(-1, 3)).reshape(len(pose), T2M.joints, 3, 3)
        posed, _ = batch_rigid_transform(turns, rest.expand(len(pose), -1, -1), body.parents[: T2M.joints])
        joints.append((posed + translation[:, None]).cpu().numpy())
    return np.concatenate(joints)


# --- Clips


def crop(joints: np.ndarray, clip: Clip) -> np.ndarray:
    """The clip's frames [T, 22, 3] of a sequence's [F, 22, 3]."""
    cut = int(SECONDS_CUT.get(clip.source[0], 0.0) * T2M.fps)
    return joints[cut:][clip.start : clip.end]


def write_clip(name: str, joints: np.ndarray, out: Path) -> str | None:
    """Write features and joints of a clip [T, 22, 3] and of its mirror image; the reason where it cannot be done."""
    try:
        motions = {name: joints, f"M{name}": mirror_joints(joints, T2M)}
        features = {clip: joints_to_features(motion, T2M) for clip, motion in motions.items()}
    except ValueError as error:
        return f"{name}: {error}"
    for clip, rows in features.items():
        own = features_to_joints(rows, T2M)
        write_whole(out / JOINTS / f"{clip}.npy", lambda path, a=own: np.save(path, a))
        write_whole(layout.features_path(out, clip), lambda path, a=rows: np.save(path, a))
    return None


def prepare_amass(clips: list[Clip], sources: list[Path], body_model: Path, out: Path, device: torch.device) -> tuple:
    """Write the clips that come from AMASS; (reasons of broken ones, clips whose sequence was not found)."""
    wanted = defaultdict(list)
    for clip in clips:
        if not is_done(out, clip):
            wanted[clip.source].append(clip)
    bodies = {gender: load_body_model(find_body_model(body_model, gender), device) for gender in ("male", "female")}
    broken = []
    datasets = {clip.source[0] for clip in clips}
    with tqdm(total=sum(map(len, wanted.values())), desc="AMASS", unit="clip", disable=None) as bar:
        for key, where, data in find_sequences(sources, wanted, datasets):
            taken = wanted.pop(key)
            try:
                sequence = read_sequence(data)
                # everybody not male was posed as female when HumanML3D was made, the few neutral bodies too
                joints = body_joints(bodies["male" if sequence.male else "female"], sequence) @ TO_Y_UP.T
            except BROKEN_FILE as error:
                broken.append(f"{where}: {' '.join(str(error).split())}")
            else:
                reasons = [write_clip(clip.name, crop(joints, clip), out) for clip in taken]
                broken += [f"{reason} ({where})" for reason in reasons if reason]
            bar.update(len(taken))
    return broken, [clip for missing in wanted.values() for clip in missing]


def prepare_humanact12(clips: list[Clip], folder: Path | None, out: Path) -> tuple[list[str], list[Clip]]:
    """Write the clips of HumanAct12, whole, from its own joints [T, >= 22, 3], y up; answers as `prepare_amass`."""
    files = {path.stem: path for path in folder.rglob("*.npy")} if folder else {}
    broken, missing = [], []
    for clip in tqdm(clips if folder else [], desc=HUMANACT12, unit="clip", disable=None):
        path = files.get(clip.source[-1])
        if is_done(out, clip):
            continue
        if path is None:
            missing.append(clip)
            continue
        try:
            joints = np.load(path, allow_pickle=False)
            if joints.ndim != 3 or joints.shape[1] < T2M.joints or joints.shape[2] != 3:
                raise ValueError(f"joints {list(joints.shape)} are not [T, >= {T2M.joints}, 3]")
            reason = write_clip(clip.name, joints[:, : T2M.joints], out)
        except BROKEN_FILE as error:
            reason = " ".join(str(error).split())
        if reason:
            broken.append(f"{path}: {reason}")
    return broken, missing if folder else [clip for clip in clips if not is_done(out, clip)]


# --- Texts and splits


def copy_texts(texts: Path, out: Path) -> None:
    """HumanML3D's NAME.txt from a folder or zip, as they are. Raises ValueError where there are none."""
    found = 0
    if texts.is_dir():
        for path in tqdm(sorted(texts.glob("*.txt")), desc="texts", unit="file", disable=None):
            target = layout.text_path(out, path.stem)
            if not target.exists():
                write_whole(target, lambda temporary, source=path: shutil.copyfile(source, temporary))
            found += 1
    elif zipfile.is_zipfile(texts):
        try:
            check_zip(texts)
            with zipfile.ZipFile(texts) as archive:
                for entry in tqdm(archive.namelist(), desc="texts", unit="file", disable=None):
                    name = PurePosixPath(entry).name  # without folders: an archive writes nowhere else
                    if not name.endswith(".txt") or name.startswith("."):
                        continue
                    target = layout.text_path(out, name.removesuffix(".txt"))
                    if not target.exists():
                        data = archive.read(entry)
                        write_whole(target, lambda temporary, data=data: temporary.write_bytes(data))
                    found += 1
        except BROKEN_ARCHIVE as error:
            raise ValueError(f"{texts} is damaged ({error}): fetch it again") from error
    else:
        raise ValueError(f"{texts} is no folder or zip with HumanML3D's texts")
    if not found:
        raise ValueError(f"there are no NAME.txt in {texts}")


def copy_splits(folder: Path, out: Path) -> None:
    """HumanML3D's own train.txt, val.txt, test.txt, ... as they are; ValueError where one of the three is missing."""
    for split in SPLITS[:3]:
        if not (folder / f"{split}.txt").is_file():
            raise ValueError(f"there is no {folder / split}.txt")
    for split in SPLITS:
        if (folder / f"{split}.txt").is_file():
            write_text(out / f"{split}.txt", (folder / f"{split}.txt").read_text(encoding="utf-8"))


def prepare(
    amass: list[Path], body_model: Path, index: Path, texts: Path | None, splits: Path | None,
    humanact12: Path | None, out: Path, device: torch.device,
) -> None:  # fmt: skip
    """The whole preparation. Raises ValueError where something that was given cannot be used."""
    clips = read_index(index)
    act, mocap = [], []
    for clip in clips:
        (act if HUMANACT12 in clip.source else mocap).append(clip)
    if texts:
        copy_texts(texts, out)
    if splits:
        copy_splits(splits, out)
    broken, missing = prepare_amass(mocap, amass, body_model, out, device)
    broken_act, missing_act = prepare_humanact12(act, humanact12, out)
    broken += broken_act

    for reason in broken:
        print(f"skipped {reason}", file=sys.stderr)
    for dataset, count in sorted(Counter(clip.source[0] for clip in missing).items()):
        print(f"not found: {count} clips of {dataset}", file=sys.stderr)
    if missing_act:
        told = f"not in {humanact12}" if humanact12 else "left out, which is not part of AMASS: give --humanact12"
        print(f"not found: {len(missing_act)} clips of HumanAct12, {told}", file=sys.stderr)
    names = [clip.name for clip in clips if is_done(out, clip)]
    if not names:
        raise ValueError(f"not one clip of {index} could be made from {', '.join(map(str, amass))}")
    if lacking := sum(not layout.text_path(out, name).exists() for name in names):
        print(f"{lacking} clips have no texts" + ("" if texts else ": give --texts"), file=sys.stderr)
    if not (out / "train.txt").exists():
        print("there are no split files yet: give --splits", file=sys.stderr)
    # over all clips, not the training split's alone: so were the published Mean.npy and Std.npy made
    layout.write_statistics(out, sorted({*names, *(f"M{name}" for name in names)}), T2M)
    print(
        f"{out}: {len(names)} clips and their mirror images of {len(clips)} in the index; "
        f"{len(broken)} broken skipped, {len(missing) + len(missing_act)} not found"
    )


@stoppable
def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amass", type=Path, nargs="+", required=True, help="folders or .tar.bz2, .tar.xz archives")
    parser.add_argument("--body-model", type=Path, required=True, help="folder with {male,female}/model.npz of SMPL-H")
    parser.add_argument("--index", type=Path, required=True, help="HumanML3D's index.csv")
    parser.add_argument("--texts", type=Path, help="HumanML3D's texts.zip, or a folder with NAME.txt")
    parser.add_argument("--splits", type=Path, help="folder with HumanML3D's train.txt, val.txt, test.txt")
    parser.add_argument("--humanact12", type=Path, help="folder with HumanAct12's joint files")
    parser.add_argument("--out", type=Path, default=Path(T2M.folder))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    args = parser.parse_args()
    for path in (args.body_model, args.index, args.texts, args.splits, args.humanact12):
        if path is not None and not path.exists():
            fail(f"there is no {path}")
    try:
        device = pick_device(args.device)
        prepare(args.amass, args.body_model, args.index, args.texts, args.splits, args.humanact12, args.out, device)
    except (ValueError, OSError) as error:
        fail(str(error))


if __name__ == "__main__":
    main()
