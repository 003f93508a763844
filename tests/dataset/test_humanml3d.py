"""HumanML3D from AMASS, from end to end, on a body model and sequences made here.

The expected joints are posed with scipy's rotations, straight from the tables below.
"""

import bz2
import csv
import io
import pickle
import shutil
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import smplx
import torch
from scipy.spatial.transform import Rotation

from dataset.normalizer import read_statistics
from dataset.prepare import humanml3d
from dataset.prepare.layout import features_path
from dataset.spec import T2M
from tests.motions import standing
from utils.motion import features_to_joints, joints_to_features, mirror_joints
from utils.skeleton import facing

HAND_PARENTS = [parent for wrist in (20, 21) for parent in [wrist, *range(wrist + 2, wrist + 16)]]
CPU = torch.device("cpu")


def model_arrays(seed):
    """An SMPL-H of 60 vertices whose rest pose (y up, facing +z) is a person's; 16 shapes move all its joints."""
    rng = np.random.default_rng(seed)
    body = standing(T2M, 2)[0] - standing(T2M, 2)[0, 0]
    hands = np.concatenate([body[wrist] + 0.02 * rng.normal(size=(15, 3)) for wrist in (20, 21)])
    vertices = np.concatenate((body * rng.uniform(0.9, 1.1), hands, rng.normal(size=(8, 3))))
    regressor = np.eye(52, 60) + 0.001 * rng.normal(size=(52, 60))
    left = np.array([*T2M.parents, *(22 + np.arange(-1, 29))])
    left[[22, 37]] = 20, 21
    return {
        "v_template": vertices,
        "shapedirs": 0.01 * rng.normal(size=(60, 3, 16)),
        "posedirs": 0.01 * rng.normal(size=(60, 3, 51 * 9)),
        "J_regressor": regressor,
        # as in the published files, where the root's parent is -1 in unsigned numbers
        "kintree_table": np.stack((left, np.arange(52))).astype(np.uint32),
        "weights": rng.dirichlet(np.ones(52), size=60),
        "f": rng.integers(60, size=(30, 3)).astype(np.uint32),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": rng.normal(size=45),
        "hands_meanr": rng.normal(size=45),
    }


def sequence_arrays(seconds, rate=120.0, gender="female", seed=0):
    """A person in AMASS's form, z up: walks at 1 m/s where they look, which is along -y at first, and waves limbs."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    yaw = 0.3 * np.sin(time + seed)
    poses = 0.2 * np.sin(2 * time[:, None] + rng.uniform(0, 6, size=156))
    # the rest pose's y up becomes z up, then the person turns about z
    poses[:, :3] = (Rotation.from_euler("z", yaw[:, None]) * Rotation.from_euler("x", np.pi / 2)).as_rotvec()
    steps = np.stack((np.sin(yaw), -np.cos(yaw), 0 * yaw), axis=1) / rate
    return {
        "poses": poses,
        "trans": np.cumsum(steps, axis=0) + [0.5, -0.7, 0.9],
        "betas": rng.normal(size=16),
        "dmpls": rng.normal(size=(len(time), 8)),
        "gender": np.array(gender),
        "mocap_framerate": np.array(rate),
    }


def posed(model, sequence):
    """Joints [N, 22, 3] of a sequence at its own rate, z up."""
    shaped = model["v_template"] + model["shapedirs"][..., :10] @ sequence["betas"][:10]
    rest = (model["J_regressor"] @ shaped)[:22]
    joints = np.zeros((len(sequence["poses"]), 22, 3))
    turns = {}
    for joint, parent in enumerate(T2M.parents):
        turn = Rotation.from_rotvec(sequence["poses"][:, 3 * joint : 3 * joint + 3])
        if joint == 0:
            turns[joint], joints[:, joint] = turn, rest[0] + sequence["trans"]
        else:
            turns[joint] = turns[parent] * turn
            joints[:, joint] = joints[:, parent] + turns[parent].apply(rest[joint] - rest[parent])
    return joints


def npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


MODELS = {"male": model_arrays(1), "female": model_arrays(2)}
KICK = sequence_arrays(8, seed=1)
BOW = sequence_arrays(7, rate=100.0, gender=b"male", seed=2)
CUT = sequence_arrays(9, rate=250.0, gender="neutral", seed=3)
ACT = standing(T2M, 50) + 0.05 * np.random.default_rng(5).normal(size=(50, 22, 3)).cumsum(axis=0)
# member of an archive -> its bytes
ARCHIVES = {
    "KIT.tar.bz2": {
        "KIT/3/kick_left02_poses.npz": npz(KICK),
        "KIT/3/nobody_wants_poses.npz": b"never read",
        "KIT/3/shape.npz": npz({"betas": np.zeros(16)}),
        "KIT/3/broken_poses.npz": npz(KICK)[:3000],
        "KIT/3/smplx_poses.npz": npz(KICK | {"poses": np.zeros((960, 165))}),
        "KIT/LICENSE.txt": b"words",
    },
    "BMLrub.tar.xz": {"BioMotionLab_NTroje/rub 001/bow poses.npz": npz(BOW)},
    "MPIHDM05.tar.bz2": {"HDM05/bk/cut_poses.npz": npz(CUT)},
}
INDEX = [
    ("./pose_data/KIT/3/kick_left02_poses.npy", 0, 117, "000000.npy"),
    ("./pose_data/KIT/3/kick_left02_poses.npy", 40, 150, "000001.npy"),
    ("./pose_data/BioMotionLab_NTroje/rub_001/bow_poses.npy", 10, 100, "000002.npy"),
    ("./pose_data/MPI_HDM05/bk/cut_poses.npy", 5, 95, "000003.npy"),
    ("./pose_data/KIT/3/broken_poses.npy", 0, 60, "000004.npy"),
    ("./pose_data/KIT/3/smplx_poses.npy", 0, 60, "000005.npy"),
    ("./pose_data/CMU/01/01_01_poses.npy", 0, 60, "000006.npy"),
    ("./pose_data/humanact12/humanact12/P01G01.npy", 0, 50, "000007.npy"),
    ("./pose_data/KIT/3/kick_left02_poses.npy", 500, 600, "000008.npy"),
]
GOOD = ("000000", "000001", "000002", "000003")


def own_joints(model, arrays, stride, first, last):
    """What clip [first:last] should be: every stride-th frame, x to the right of the old, up y."""
    x, y, z = np.moveaxis(posed(MODELS[model], arrays)[::stride][first:last], -1, 0)
    return np.stack((-x, z, y), axis=-1)


EXPECTED = {
    "000000": own_joints("female", KICK, 6, 0, 117),
    "000001": own_joints("female", KICK, 6, 40, 150),
    "000002": own_joints("male", BOW, 5, 10, 100),
    "000003": own_joints("female", CUT, 12, 60 + 5, 60 + 95),  # three seconds cut first; neutral is posed as female
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """All that a person has on disk: archives, body models, index, texts and splits, HumanAct12."""
    folder = tmp_path_factory.mktemp("given")
    for path, members in ARCHIVES.items():
        (folder / "amass").mkdir(exist_ok=True)
        with tarfile.open(folder / "amass" / path, f"w:{path.rsplit('.', 1)[1]}") as archive:
            for name, data in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    for gender, arrays in MODELS.items():
        (folder / "smplh" / gender).mkdir(parents=True)
        np.savez(folder / "smplh" / gender / "model.npz", **arrays)
    write_index(folder / "index.csv", INDEX)
    with zipfile.ZipFile(folder / "texts.zip", "w") as archive:
        for name in (*GOOD, "000007"):
            archive.writestr(f"texts/{name}.txt", f"someone kicks {name}#someone/NOUN kick/VERB#0.0#0.0\n")
            archive.writestr(f"texts/M{name}.txt", f"mirrored {name}#mirrored/ADJ#0.0#0.0\n")
        archive.writestr("__MACOSX/texts/._000000.txt", "no text")
        archive.writestr("../outside.txt", "a text like any other")
    (folder / "splits").mkdir()
    for split, names in {"train": "000000\nM000000\n", "val": "000001\n", "test": "000002\nM000099\n"}.items():
        (folder / "splits" / f"{split}.txt").write_text(names)
    (folder / "humanact12").mkdir()
    np.save(folder / "humanact12/P01G01.npy", np.concatenate((ACT, ACT[:, :2]), axis=1))
    return folder


def write_index(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("source_path", "start_frame", "end_frame", "new_name"), *rows])


def run(given, out, *more, **replaced):
    """The command line as a user gives it."""
    options = {"amass": given / "amass", "body-model": given / "smplh", "index": given / "index.csv"}
    options |= {"texts": given / "texts.zip", "splits": given / "splits", "out": out, "device": "cpu"} | replaced
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    argv, sys.argv = sys.argv, ["humanml3d", *words, *map(str, more)]
    try:
        humanml3d.main()
    finally:
        sys.argv = argv


@pytest.fixture(scope="module")
def prepared(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "HumanML3D"
    run(given, out)
    return out


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def motions_of(folder):
    return {path.stem: np.load(path) for path in (folder / "new_joint_vecs").iterdir()}


# --- The whole path


def test_layout(given, prepared):
    clips = [*GOOD, *(f"M{name}" for name in GOOD)]
    expected = {f"{kind}/{name}.npy" for name in clips for kind in ("new_joint_vecs", "new_joints")}
    expected |= {f"texts/{name}.txt" for name in (*clips, "000007", "M000007", "outside")}
    expected |= {"Mean.npy", "Std.npy", "train.txt", "val.txt", "test.txt"}
    assert contents(prepared).keys() == expected
    for split in ("train", "val", "test"):
        assert (prepared / f"{split}.txt").read_text() == (given / f"splits/{split}.txt").read_text()
    assert (prepared / "texts/M000001.txt").read_text().startswith("mirrored 000001#")


@pytest.mark.parametrize("name", GOOD)
def test_clips_are_the_index_s_crops_at_20_fps(prepared, name):
    features = np.load(features_path(prepared, name))
    expected = joints_to_features(EXPECTED[name], T2M)
    assert features.shape == expected.shape and features.dtype == np.float32
    assert np.abs(features - expected)[:, :-4].max() < 2e-3
    assert (features != expected)[:, -4:].mean() < 0.02  # contacts: a threshold, so a hair makes a difference
    np.testing.assert_allclose(np.load(prepared / f"new_joints/{name}.npy"), features_to_joints(features, T2M))


@pytest.mark.parametrize("name", GOOD)
def test_mirror_images(prepared, name):
    features, image = (np.load(features_path(prepared, clip)) for clip in (name, f"M{name}"))
    expected = joints_to_features(mirror_joints(EXPECTED[name], T2M), T2M)
    assert np.abs(image - expected)[:, :-4].max() < 2e-3
    assert np.abs(image - features).max() > 0.05
    joints, image_joints = (features_to_joints(rows[:1], T2M) for rows in (features, image))
    # the uniform skeleton's sides differ by millimetres
    assert np.abs(image_joints - mirror_joints(joints, T2M)).max() < 0.05
    assert np.abs(image_joints - joints).max() > 0.1


def test_the_left_stays_left(prepared):
    """They walk ahead with the left hip on the left: a mirror image would walk backwards or have its hips exchanged."""
    for name in GOOD:
        joints = EXPECTED[name]
        ahead = facing(joints, T2M)[0]
        assert (joints[5, 0] - joints[0, 0]) @ ahead > 0, "of the expected joints: they walk where they face"
        own = np.load(prepared / f"new_joints/{name}.npy")
        assert own[5, 0, 2] - own[0, 0, 2] > 0.1, "ahead is +z"
        assert own[0, 1, 0] > own[0, 2, 0], "and the left is +x"
        assert own[0, 15, 1] > own[0, 0, 1] > own[0, 7, 1] > -0.05, "and up is +y"
        assert 0.7 < np.linalg.norm(own[20, 0] - own[0, 0]) < 1.3, "a metre in a second, whatever the archive's rate"


def test_statistics_are_of_all_clips(prepared):
    mean, _ = read_statistics(prepared, T2M)
    frames = np.concatenate(list(motions_of(prepared).values()))
    np.testing.assert_allclose(mean, frames.mean(axis=0, dtype=np.float64), atol=1e-5)


def test_what_is_left_out_is_told_and_the_rest_kept(given, prepared, tmp_path, capsys):
    """A second run keeps what is there, and says of the others what the first one said."""
    out = tmp_path / "again"
    shutil.copytree(prepared, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "new_joint_vecs").iterdir()}
    run(given, out)
    printed = capsys.readouterr()
    skipped = [line for line in printed.err.replace("\r", "\n").splitlines() if line.startswith("skipped")]
    assert len(skipped) == 3
    for part in ("broken_poses", "smplx_poses", "000008"):
        assert sum(part in line for line in skipped) == 1
    assert "not found: 1 clips of CMU" in printed.err
    assert "1 clips of HumanAct12" in printed.err and "--humanact12" in printed.err
    assert "4 clips" in printed.out and "3 broken" in printed.out and "2 not found" in printed.out
    assert {path: path.stat().st_mtime_ns for path in (out / "new_joint_vecs").iterdir()} == before
    assert contents(out) == contents(prepared)


def test_an_interrupted_run_goes_on(given, prepared, tmp_path):
    out = tmp_path / "half"
    shutil.copytree(prepared / "new_joint_vecs", out / "new_joint_vecs")
    shutil.copytree(prepared / "new_joints", out / "new_joints")
    for name in ("M000001", "000002", "M000002"):
        features_path(out, name).unlink()
    kept = features_path(out, "000003").stat().st_mtime_ns
    run(given, out)
    assert features_path(out, "000003").stat().st_mtime_ns == kept
    assert contents(out) == contents(prepared)


def test_humanact12(given, tmp_path):
    """Its clips come whole from their own joints: no crop, no change of axes."""
    run(given, tmp_path / "out", humanact12=given / "humanact12")
    made = np.load(features_path(tmp_path / "out", "000007"))
    np.testing.assert_allclose(made, joints_to_features(ACT, T2M), atol=1e-5)
    mirrored = np.load(features_path(tmp_path / "out", "M000007"))
    np.testing.assert_allclose(mirrored, joints_to_features(mirror_joints(ACT, T2M), T2M), atol=1e-5)


# --- The same from other forms of what is given


def same_motion(first, second):
    first, second = motions_of(first), motions_of(second)
    assert first.keys() == second.keys()
    for name, features in first.items():
        np.testing.assert_array_equal(features, second[name])


@pytest.mark.parametrize("folders", [("amass",), ("amass", "doubled"), ("KIT", "BMLrub", "HDM05")])
def test_unpacked_folders(given, prepared, tmp_path, folders):
    """Unpacked side by side, each into a folder of its name, or given one by one."""
    for archive, members in ARCHIVES.items():
        for name, data in members.items():
            parts = name.split("/")
            if "doubled" in folders:
                parts = [archive.split(".")[0], *parts]
            elif len(folders) > 1:
                parts = [archive.split(".")[0].replace("MPIHDM05", "HDM05"), *parts[1:]]
            path = (tmp_path if len(folders) == 3 else tmp_path / "amass").joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    given_folders = [tmp_path / name for name in folders if name != "doubled"]
    run(given, tmp_path / "out", "--amass", *given_folders, amass=None)
    same_motion(tmp_path / "out", prepared)


def test_archives_one_by_one_and_of_several_streams(given, prepared, tmp_path):
    """pbzip2, with which large archives are made, writes one stream after the other."""
    tar = bz2.decompress((given / "amass/KIT.tar.bz2").read_bytes())
    pieces = [bz2.compress(tar[first : first + 5000]) for first in range(0, len(tar), 5000)]
    (tmp_path / "KIT.tar.bz2").write_bytes(b"".join(pieces))
    archives = [tmp_path / "KIT.tar.bz2", given / "amass/BMLrub.tar.xz", given / "amass/MPIHDM05.tar.bz2"]
    run(given, tmp_path / "out", "--amass", *archives, amass=None)
    same_motion(tmp_path / "out", prepared)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["KIT.tar.bz2", "out"], "nothing is unpacked"


def test_an_archive_of_which_all_is_done_is_not_read(given, prepared, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    (tmp_path / "amass").mkdir()
    (tmp_path / "amass/BMLrub.tar.bz2").write_bytes(b"would be refused")
    run(given, out, amass=tmp_path / "amass")
    (features_path(out, "M000002")).unlink()
    with pytest.raises(SystemExit):
        run(given, out, amass=tmp_path / "amass")


def test_a_folder_of_texts_and_none_at_all(given, prepared, tmp_path, capsys):
    run(given, tmp_path / "out", texts=prepared / "texts")
    assert contents(tmp_path / "out") == contents(prepared)
    run(given, tmp_path / "bare", texts=None, splits=None)
    printed = capsys.readouterr().err
    assert "4 clips have no texts: give --texts" in printed and "give --splits" in printed
    same_motion(tmp_path / "bare", prepared)


# --- What cannot be used: one line that says so, and status 2


def refused(capsys, given, out, *more, **replaced):
    with pytest.raises(SystemExit) as caught:
        run(given, out, *more, **replaced)
    assert caught.value.code == 2
    errors = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert not (out / "Mean.npy").exists()
    return errors[0]


@pytest.mark.parametrize("what", ["amass", "body-model", "index", "texts", "splits", "humanact12"])
def test_paths_that_are_not_there(given, tmp_path, capsys, what):
    message = refused(capsys, given, tmp_path / "out", **{what: tmp_path / "nowhere"})
    assert "nowhere" in message


@pytest.mark.parametrize("keep", [0.5, 0.02])
def test_a_half_downloaded_archive(given, tmp_path, capsys, keep):
    data = (given / "amass/KIT.tar.bz2").read_bytes()
    (tmp_path / "KIT.tar.bz2").write_bytes(data[: int(keep * len(data))])
    message = refused(capsys, given, tmp_path / "out", amass=tmp_path / "KIT.tar.bz2")
    assert "KIT.tar.bz2" in message and "damaged" in message


def test_an_archive_with_nothing_of_the_index(given, tmp_path, capsys):
    (tmp_path / "amass").mkdir()
    assert "not one clip" in refused(capsys, given, tmp_path / "out", amass=tmp_path / "amass")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("hello\n", "source_path"),
        ("source_path,start_frame,end_frame,new_name\n", "no clips"),
        ("source_path,start_frame,end_frame,new_name\n./pose_data/KIT/3/a.npy,0,ten,000000.npy\n", "line 2"),
        ("source_path,start_frame,end_frame,new_name\n./pose_data/KIT/3/a.npy,0\n", "line 2"),
        ("source_path,start_frame,end_frame,new_name\n,0,5,000000.npy\n", "line 2"),
        ("source_path,start_frame,end_frame,new_name\n./pose_data/KIT/3/a.npy,0,5,\n", "line 2"),
    ],
)
def test_an_index_that_is_none(given, tmp_path, capsys, content, told):
    (tmp_path / "index.csv").write_text(content)
    message = refused(capsys, given, tmp_path / "out", index=tmp_path / "index.csv")
    assert "index.csv" in message and told in message


class Intruder:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled!",)


@pytest.mark.parametrize("kind", ["pickle", "object array", "incomplete", "text", "smpl"])
def test_body_models_that_are_none(given, tmp_path, capsys, kind):
    path = tmp_path / "model.npz"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Intruder()))
    elif kind == "object array":
        np.savez(path, **MODELS["male"] | {"weights": np.array([Intruder()], dtype=object)})
    elif kind == "incomplete":
        np.savez(path, v_template=np.zeros((60, 3)))
    elif kind == "smpl":
        np.savez(path, **MODELS["male"] | {"J_regressor": np.zeros((24, 60))})
    else:
        path.write_text("hello")
    message = refused(capsys, given, tmp_path / "out", **{"body-model": path})
    assert "model.npz" in message and "SMPL-H" in message
    assert "unpickled!" not in capsys.readouterr().out


def test_a_body_model_of_one_gender(given, tmp_path, capsys):
    shutil.copytree(given / "smplh/male", tmp_path / "smplh/male")
    assert "female" in refused(capsys, given, tmp_path / "out", **{"body-model": tmp_path / "smplh"})


def test_texts_that_are_none(given, tmp_path, capsys):
    (tmp_path / "texts.zip").write_text("<html>")
    assert "texts.zip" in refused(capsys, given, tmp_path / "out", texts=tmp_path / "texts.zip")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, given, tmp_path / "out", texts=tmp_path / "empty")
    (tmp_path / "empty/train.txt").write_text("000000\n")
    assert "val.txt" in refused(capsys, given, tmp_path / "out", splits=tmp_path / "empty")


# --- The steps


def test_joints_are_those_of_the_whole_body_model(given):
    """Posing the bones alone gives what smplx gives with skin, hands and soft shapes, in batches or not."""
    arrays = sequence_arrays(1.0, rate=1200.0)  # more frames than one batch
    body = humanml3d.load_body_model(given / "smplh/female/model.npz", CPU)
    sequence = humanml3d.Sequence(
        arrays["poses"][:, :66].reshape(-1, 22, 3), arrays["trans"], arrays["betas"][:10], False
    )
    joints = humanml3d.body_joints(body, sequence)
    assert len(joints) > 2 * humanml3d.BODY_FRAMES
    vertices = dict.fromkeys(smplx.vertex_ids.vertex_ids["smplh"], 0)  # of a skin of 6,890
    whole = smplx.SMPLH(
        "", data_struct=smplx.utils.Struct(**MODELS["female"]), use_pca=False, batch_size=4, vertex_ids=vertices
    )
    pose, trans = (torch.from_numpy(arrays[name][::400]).float() for name in ("poses", "trans"))
    betas = torch.from_numpy(arrays["betas"][None, :10]).float().expand(len(pose), -1)
    out = whole(
        betas=betas, global_orient=pose[:, :3], body_pose=pose[:, 3:66], left_hand_pose=pose[:, 66:111],
        right_hand_pose=pose[:, 111:], transl=trans,
    )  # fmt: skip
    np.testing.assert_allclose(joints[::400], out.joints[:, :22].detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(joints, posed(MODELS["female"], arrays), atol=1e-4)


@pytest.mark.parametrize(("rate", "stride"), [(20, 1), (60, 3), (100, 5), (120, 6), (150, 7), (250, 12), (15, 1)])
def test_strides(rate, stride):
    arrays = sequence_arrays(2, rate=rate)
    sequence = humanml3d.read_sequence(npz(arrays))
    np.testing.assert_array_equal(sequence.translation, arrays["trans"][::stride])
    np.testing.assert_array_equal(sequence.pose[:, 21], arrays["poses"][::stride, 63:66])
    assert sequence.betas.shape == (10,) and not sequence.male


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK nothing",
        b"no archive at all",
        npz({"poses": np.zeros((9, 156))}),
        npz({name: array for name, array in KICK.items() if name != "mocap_framerate"}),
        npz(KICK | {"trans": np.zeros((5, 3))}),
        npz(KICK | {"mocap_framerate": np.array(0.0)}),
        npz(KICK | {"mocap_framerate": np.array(np.nan)}),
        npz(KICK | {"gender": np.array([Intruder()], dtype=object)}),
    ],
)
def test_sequences_that_are_none(data, capsys):
    with pytest.raises(humanml3d.BROKEN_FILE):
        humanml3d.read_sequence(data)
    assert "unpickled!" not in capsys.readouterr().out


def test_keys():
    key = humanml3d.sequence_key
    assert key(("KIT", "KIT", "3", "a b_poses.npz")) == ("KIT", "3", "a_b_poses")
    assert key(("MPIHDM05", "HDM05", "bk", "x.npy")) == ("MPI_HDM05", "bk", "x")
    assert key(("BMLrub", "rub001", "x.npz")) == key(("BioMotionLab_NTroje", "rub001", "x.npy"))


@pytest.mark.parametrize(
    ("dataset", "frames"),
    [("Eyes_Japan_Dataset", 60), ("MPI_HDM05", 60), ("TotalCapture", 20), ("MPI_Limits", 20),
     ("Transitions_mocap", 10), ("KIT", 0)],
)  # fmt: skip
def test_cut_beginnings(dataset, frames):
    joints = np.arange(100)
    clip = humanml3d.Clip("000000", (dataset, "a", "b"), 3, 9)
    np.testing.assert_array_equal(humanml3d.crop(joints, clip), np.arange(frames + 3, frames + 9))


def test_to_y_up_is_a_rotation():
    np.testing.assert_allclose(humanml3d.TO_Y_UP @ humanml3d.TO_Y_UP.T, np.eye(3))
    assert np.linalg.det(humanml3d.TO_Y_UP) == pytest.approx(1)
    np.testing.assert_array_equal(humanml3d.TO_Y_UP @ [0, 0, 1], [0, 1, 0])
