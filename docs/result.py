"""Draw docs/result.png, the picture in the README, with the shipped weights.

python -m docs.result
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imsave

from models.pipeline import MotionPipeline
from utils.files import write_whole
from utils.visualize import motion_picture

SENTENCES = ("a person jogs forward", "someone waves with the left hand", "an old man bows politely")


def main() -> None:
    pipeline = MotionPipeline.load(device="cpu")
    strips = []
    for motion in pipeline.generate(list(SENTENCES), seed=1, cfg_scale=None):
        canvas = FigureCanvasAgg(motion_picture(motion.joints, pipeline.spec, motion.text))
        canvas.draw()
        strips.append(np.asarray(canvas.buffer_rgba())[..., :3])
    picture = np.concatenate(strips)
    print(write_whole(Path(__file__).with_suffix(".png"), lambda path: imsave(path, picture)))


if __name__ == "__main__":
    main()
