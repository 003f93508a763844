"""A motion as an animated GIF, small enough to be looked at now and then while a model trains.

Axes: x, y up, z in metres; T frames, J joints.
"""

import io
import math

import numpy as np
from PIL import Image, ImageDraw

from dataset.spec import DatasetSpec
from utils.visualize import COLOURS, PITCH, YAW

SIZE = (320, 240)  # pixels
EVERY = 2  # frames: half the rate is enough to see how somebody moves


def motion_gif(joints: np.ndarray, spec: DatasetSpec) -> bytes:
    """Joints [T, J, 3] (metres) seen from the front and a little above, all of the way in view, as a GIF."""
    joints = np.nan_to_num(joints)[::EVERY]
    x, y, z = np.moveaxis(joints, -1, 0)
    across = math.cos(YAW) * x + math.sin(YAW) * z  # [T, J]
    depth = math.cos(YAW) * z - math.sin(YAW) * x
    up = math.cos(PITCH) * y - math.sin(PITCH) * depth
    width, height = SIZE
    scale = 0.9 * min(width / max(np.ptp(across), 1.0), height / max(np.ptp(up), 2.0))  # pixels a metre
    places = np.stack(
        (
            width / 2 + scale * (across - (across.min() + across.max()) / 2),
            height / 2 - scale * (up - (up.min() + up.max()) / 2),
        ),
        axis=-1,
    )  # [T, J, 2]
    pictures = []
    for body in places:
        picture = Image.new("RGB", SIZE, "white")
        draw = ImageDraw.Draw(picture)
        for joint, parent in enumerate(spec.parents):
            if parent >= 0:
                draw.line([tuple(body[parent]), tuple(body[joint])], fill=COLOURS[spec.side(joint)], width=3)
        pictures.append(picture)
    content = io.BytesIO()
    pictures[0].save(
        content, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 * EVERY / spec.fps), loop=0
    )
    return content.getvalue()
