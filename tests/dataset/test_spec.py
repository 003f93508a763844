"""Each dataset's numbers fit together."""

import numpy as np
import pytest

from dataset.spec import BANDAI, KIT, SPECS, T2M, get_spec

every = pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)


def test_widths_and_rates():
    assert [(spec.joints, spec.dim, spec.fps) for spec in (T2M, KIT, BANDAI)] == [
        (22, 263, 20.0),
        (21, 251, 12.5),
        (22, 263, 20.0),
    ]


@every
def test_chains_reach_every_joint_once(spec):
    ends = [joint for chain in spec.chains for joint in chain[1:]]
    assert sorted(ends) == list(range(1, spec.joints))
    reached = {0}
    for chain in spec.chains:
        assert chain[0] in reached, "a chain starts from a joint that was placed before"
        reached |= set(chain)
    assert spec.parents[0] == -1 and all(0 <= parent < spec.joints for parent in spec.parents[1:])
    assert len(spec.rest_directions) == spec.joints
    assert (np.abs(spec.rest_directions[1:]).sum(axis=1) == 1).all()


@every
def test_mirror_exchanges_the_sides(spec):
    assert [spec.mirror[spec.mirror[joint]] for joint in range(spec.joints)] == list(range(spec.joints))
    opposite = {"left": "right", "right": "left", "middle": "middle"}
    for joint, other in enumerate(spec.mirror):
        assert spec.side(other) == opposite[spec.side(joint)]
        assert (joint == other) == (spec.side(joint) == "middle")
        parent = spec.parents[joint]
        assert spec.parents[other] == (spec.mirror[parent] if parent >= 0 else -1)
    assert spec.mirror[spec.left_foot[0]] == spec.right_foot[0]
    right_hip, left_hip, right_shoulder, left_shoulder = spec.face_joints
    assert (spec.mirror[right_hip], spec.mirror[right_shoulder]) == (left_hip, left_shoulder)
    assert spec.side(right_hip) == spec.side(right_shoulder) == "right"


@every
def test_slices_cover_the_vector_in_order(spec):
    parts = [spec.root_slice, spec.position_slice, spec.rotation_slice, spec.velocity_slice, spec.contact_slice]
    for slices in (parts, spec.groups):
        assert slices[0].start == 0 and slices[-1].stop == spec.dim
        assert all(a.stop == b.start for a, b in zip(slices, slices[1:]))
    j = spec.joints
    assert [part.stop - part.start for part in parts] == [4, 3 * (j - 1), 6 * (j - 1), 3 * j, 4]


@every
def test_lower_body_is_the_root_and_the_legs(spec):
    words = ("pelvis", "hip", "knee", "ankle", "heel", "foot")
    expected = [joint for joint, name in enumerate(spec.joint_names) if name.split("_")[-1] in words]
    assert sorted(spec.lower_joints) == expected and spec.lower_joints[0] == 0


def test_rest_offsets():
    lengths = np.arange(1.0, 21.0)
    offsets = KIT.rest_offsets(lengths)
    np.testing.assert_allclose(np.linalg.norm(offsets[1:], axis=1), lengths)
    np.testing.assert_array_equal(offsets[0], 0)
    np.testing.assert_allclose(T2M.rest_offsets()[4], [0, -0.3936, 0], atol=1e-4)


def test_unknown_name():
    assert get_spec("kit") is KIT
    with pytest.raises(ValueError, match="t2m, kit, bandai"):
        get_spec("aist")
