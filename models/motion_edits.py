"""Edits of motions as files hold them, to motions as files hold them: what edit.py and the page have in common.

First all is checked, so that nothing is made or written where something is wrong; then it is made:

    plan = plan_edits(pipeline, [(motion, sentence), ...], "inbetween")
    exports = make_edits(pipeline, plan, seed=0)

T frames, J joints, D features.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset.motion_file import MotionFile
from models.edits import Edit, Edited, Ranges, check_edit, edit, range_mask, task_frames
from models.pipeline import MotionPipeline
from models.upper_body import UpperEdit, check_upper_edit, edit_upper
from utils.export import Export
from utils.motion import features_to_joints
from utils.seams import ranges_of, stand_on


@dataclass(frozen=True)
class Plan:
    """What is to be made of each motion, `samples` times each, and what the motion looks like as a whole."""

    task: str
    motions: list[MotionFile]
    edits: list[Edit] | list[UpperEdit]  # [motions x samples]
    sources: list[np.ndarray]  # joints [T, J, 3] in metres of each motion
    samples: int


def plan_edits(
    pipeline: MotionPipeline, given: Iterable[tuple[MotionFile, str]], task: str, ranges: Ranges = (), samples: int = 1
) -> Plan:
    """The plan to make a task's frames of each motion anew, or those of `ranges`, or with task "upper" its upper body.

    Raises ValueError, naming the file, for a motion that cannot be edited so.
    """
    plan = Plan(task, [], [], [], samples)
    spec, unit = pipeline.spec, pipeline.tokenizer.config.frames_per_token
    for motion, text in given:
        try:
            whole = np.zeros(motion.frames, dtype=bool)
            if task == "upper":
                shown = motion.features_without(whole)
                check_upper_edit(UpperEdit(shown), pipeline)
                plan.edits.extend(UpperEdit(shown, text, sample) for sample in range(samples))
            else:
                made = ranges or task_frames(task, motion.frames, unit)
                features = motion.features_without(range_mask(made, motion.frames).numpy())
                check_edit(Edit(features, made), pipeline)
                shown = motion.features_without(whole)
                plan.edits.extend(Edit(features, made, text, sample) for sample in range(samples))
        except ValueError as error:
            raise ValueError(
                f"{motion.path}: {error}".replace(f"{motion.path}: {motion.path}", f"{motion.path}")
            ) from error
        plan.motions.append(motion)
        plan.sources.append(features_to_joints(shown, spec) * spec.metres_per_unit)
    return plan


def make_edits(
    pipeline: MotionPipeline, plan: Plan, seed: int = 0, temperature: float = 1.0, cfg_scale: float | None = None,
    steps: int | None = None, settings: dict[str, Any] | None = None, **choices: Any,
) -> list[Export]:  # fmt: skip
    """A result for every edit of a plan; `choices` are those of `edit`, or of `edit_upper`."""
    if plan.task == "upper":
        results = edit_upper(pipeline, plan.edits, seed, temperature, cfg_scale, steps, **choices)
    else:
        results = edit(pipeline, plan.edits, seed, temperature, cfg_scale, steps, **choices)
    exports = []
    for i, result in enumerate(results):
        number, sample = divmod(i, plan.samples)
        motion = plan.motions[number]
        joints, source = _placed(pipeline, plan, number, result)
        what = "upper body" if plan.task == "upper" else plan.task
        exports.append(
            Export(
                joints, pipeline.spec, f"{result.text or 'no sentence'} ({what} of {motion.path.stem})", result.fps,
                {} if plan.task == "upper" else {"generated": result.generated}, source, result.text, result.features,
                result.ids, np.asarray(plan.edits[i].features), seed,
                {**(settings or {}), "number": number, "sample": sample},
            )
        )  # fmt: skip
    return exports


def _placed(pipeline: MotionPipeline, plan: Plan, number: int, result: Edited) -> tuple[np.ndarray, np.ndarray]:
    """Joints of a result and of its source [T, J, 3], so that what was kept stands where it stood, and both together.

    Joints have a place in the world, features have none.
    """
    spec, motion = pipeline.spec, plan.motions[number]
    joints, source = result.joints, plan.sources[number]
    if plan.task == "upper":
        kept = slice(None), list(spec.lower_joints)
    else:
        made = range_mask(result.generated, motion.frames).numpy()
        if made.all():
            return joints, source
        kept = slice(*ranges_of(~made)[0])
    if motion.joints is not None:
        joints = stand_on(joints, joints[kept], motion.joints[kept] * spec.metres_per_unit)
    return joints, stand_on(source, source[kept], joints[kept])
