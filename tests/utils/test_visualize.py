"""The page holds the motion it was given and shows the sentence as text; the picture is a figure of its own."""

import base64
import html
import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from dataset.spec import BANDAI, KIT, T2M
from utils.visualize import COLOURS, MADE, Strip, motion_html, motion_picture, strips_picture


def walk(spec, frames=40):
    """[T, J, 3] metres: a standing body that faces +z, drifting 3 m along z and swaying a little."""
    lengths = spec.bone_lengths or (150.0,) * (spec.joints - 1)
    pose = np.zeros((spec.joints, 3))
    for chain in spec.chains:
        for parent, joint in zip(chain, chain[1:]):
            pose[joint] = pose[parent] + spec.rest_offsets(lengths)[joint] * spec.metres_per_unit
    pose[:, 1] -= pose[:, 1].min()
    if pose[spec.face_joints[0], 0] > 0:  # KIT's rest directions have right and left exchanged
        pose = pose[list(spec.mirror)]
    drift = np.linspace(0, 3, frames)[:, None, None] * (0, 0, 1)
    return pose + drift + 0.01 * np.random.default_rng(0).standard_normal((frames, spec.joints, 3))


def embedded(page):
    """The page's motion as a dict, its joints decoded to metres [T, J, 3]."""
    motion = json.loads(re.search(r'<script id="motion" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    values = np.frombuffer(base64.b64decode(motion["millimetres"]), dtype="<i4")
    return motion, values.reshape(motion["frames"], len(motion["parents"]), 3) / 1000


@pytest.mark.parametrize("spec", [T2M, KIT, BANDAI], ids=lambda spec: spec.name)
def test_page_holds_the_motion(spec):
    joints = walk(spec)
    motion, decoded = embedded(motion_html(joints, spec, "a person walks"))
    assert motion["frames"] == len(joints) and motion["fps"] == spec.fps
    assert tuple(motion["parents"]) == spec.parents
    assert motion["sides"] == [spec.side(joint) for joint in range(spec.joints)]
    np.testing.assert_allclose(decoded, joints, atol=1e-3)


def test_own_frame_rate():
    assert embedded(motion_html(walk(T2M), T2M, "a person walks", fps=30))[0]["fps"] == 30
    for fps in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="fps must be a positive number"):
            motion_html(walk(T2M), T2M, "a person walks", fps=fps)


@pytest.mark.parametrize(
    "title",
    [
        '</script><script>alert("x")</script>',
        "<img src=x onerror='alert(1)'>",
        'jumps & "waves"',
        "__MOTION__",
        r"a \1 b",
    ],
)
def test_title_is_shown_as_text(title):
    page, plain = motion_html(walk(T2M), T2M, title), motion_html(walk(T2M), T2M, "plain")
    assert f"<title>{html.escape(title)}</title>" in page and f"<h1>{html.escape(title)}</h1>" in page
    # The sentence adds no markup: without it, the page is that of a plain sentence.
    assert page.replace(html.escape(title), "plain") == plain


def test_blank_title_still_names_the_page():
    assert "<h1>untitled motion</h1>" in motion_html(walk(T2M), T2M, " ")


def test_page_needs_no_network_and_is_small():
    page = motion_html(walk(T2M, 196), T2M, "a person walks")
    assert "http" not in page and "//cdn" not in page and "@import" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert len(page.encode()) < 150_000
    assert not re.search(r"__[A-Z]+__", page)  # every place in the template is filled


def test_left_and_right_differ_and_are_named():
    page = motion_html(walk(T2M), T2M, "a person walks")
    assert COLOURS["left"] != COLOURS["right"]
    for side in ("left", "right"):
        assert f"--{side}: {COLOURS[side]}" in page and re.search(rf"</i>{side}</li>", page)


def test_marked_frames_and_the_source():
    joints, source = walk(T2M), walk(T2M, 30) + 0.5
    page = motion_html(joints, T2M, "a", marks={"generated": [(3, 9), (20, 40)]}, source=source)
    motion, _ = embedded(page)
    assert motion["marked"] == [[3, 9], [20, 40]] and motion["mark"] == "generated" and f"--made: {MADE}" in page
    decoded = np.frombuffer(base64.b64decode(motion["source"]), dtype="<i4").reshape(30, 22, 3) / 1000
    np.testing.assert_allclose(decoded, source, atol=1e-3)
    plain, _ = embedded(motion_html(joints, T2M, "a"))
    assert plain["marked"] == [] and plain["source"] is None
    for ranges in ([(3, 41)], [(-1, 2)], [(5, 5)]):
        with pytest.raises(ValueError, match="frames 0:40"):
            motion_html(joints, T2M, "a", marks={"generated": ranges})
    with pytest.raises(ValueError, match="must have shape"):
        motion_html(joints, T2M, "a", source=source[:, :3])


@pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)
def test_heading_is_where_the_person_faces(spec):
    """Facing +z is angle 0; a quarter turn about y from there is facing +x."""
    joints = walk(spec)
    assert embedded(motion_html(joints, spec, "a"))[0]["heading"] == pytest.approx(0, abs=0.2)
    turned = joints @ np.array([(0, 0, -1), (0, 1, 0), (1, 0, 0)])  # z to x, x to -z
    assert embedded(motion_html(turned, spec, "a"))[0]["heading"] == pytest.approx(np.pi / 2, abs=0.2)


@pytest.mark.parametrize("draw", [motion_html, motion_picture])
def test_wrong_input_is_named(draw):
    for shape in [(22, 3), (0, 22, 3), (10, 21, 3), (10, 22, 2), (1, 10, 22, 3)]:
        with pytest.raises(ValueError, match=r"must have shape \[T, 22, 3\].*not \["):
            draw(np.zeros(shape), T2M, "a")
    joints = walk(T2M)
    joints[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        draw(joints, T2M, "a")


@pytest.mark.parametrize("spec", [T2M, KIT], ids=lambda spec: spec.name)
def test_picture_has_one_pose_a_frame(spec):
    figure = motion_picture(walk(spec), spec, "pays $5 or $6 <now>", frames=4)
    assert isinstance(figure, Figure) and len(figure.axes) == 4
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert set(COLOURS.values()) <= colours  # the page's own
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert (pixels[..., :3] != 255).any()


def test_one_frame_is_enough():
    joints = walk(T2M, 1)
    assert embedded(motion_html(joints, T2M, "a person stands"))[0]["frames"] == 1
    assert len(motion_picture(joints, T2M, "a person stands").axes) == 1


def colours_of(axes):
    return [line.get_color() for line in axes.lines]


def test_strips_colour_what_was_made():
    joints = walk(T2M)
    made = [(10, 20)]
    rows = [Strip(joints, "before", frames=[0, 15, 38]), Strip(joints, "after", made, frames=[0, 15, 38])]
    figure = strips_picture(rows, T2M, "a walk")
    assert len(figure.axes) == 6
    assert [MADE in colours_of(axes)[-22:] for axes in figure.axes] == [False, False, False, False, True, False]
    assert [axes.texts[0].get_text() for axes in figure.axes[3:]] == ["0.0 s", "0.8 s made", "1.9 s"]
    assert len([patch for patch in figure.patches + figure.artists if patch.get_zorder() < 0]) == 1
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert min(tops[:3]) > max(tops[3:]) and figure.axes[0].get_xlim() == figure.axes[5].get_xlim()


def test_a_path_that_was_kept_is_not_violet():
    joints = walk(T2M)
    with_path, without = (
        strips_picture([Strip(joints, made=[(0, 20)], made_path=own, frames=[15])], T2M, "a").axes[0]
        for own in (True, False)
    )
    drawn = [
        [line for line in axes.lines if line.get_color() == MADE and np.isfinite(line.get_xdata()).any()]
        for axes in (with_path, without)
    ]
    assert len(drawn[0]) == len(drawn[1]) + 1 and drawn[1]  # the path; the trunk is violet in both


def test_strips_refuse_frames_that_are_not_there():
    for frames in ([0, 40], [-1], []):
        with pytest.raises(ValueError, match="frames must be of 0:40"):
            strips_picture([Strip(walk(T2M, 40), frames=frames)], T2M, "a")


def test_a_notebook_shows_a_picture():
    png = motion_picture(walk(T2M), T2M, "a walk")._repr_png_()
    assert png.startswith(b"\x89PNG") and len(png) < 50_000
