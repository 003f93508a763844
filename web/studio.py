"""What the page can do: motions of sentences, edits, uploads, downloads. One thread at a time calls it (web.jobs)."""

import tempfile
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dataset.motion_file import SUFFIXES, MotionFile, read_motion
from dataset.spec import BANDAI as CLIPS
from models.edits import Edit, Edited, check_edit, generate_long
from models.motion_edits import make_edits, plan_edits
from models.pipeline import PRETRAINED, Motion, MotionPipeline
from options.prompts import told_unknown
from utils.bvh import read_bvh
from utils.export import Export, write_motion
from web.asked import LONGEST_EDIT, EditRequest, TextRequest

KEPT = 128  # motions that can still be played, downloaded and edited
LARGEST_UPLOAD = 4 * 2**20  # bytes
MOST_PLACES = 1_000_000  # joints x frames of a BVH file: a hundred bytes each while it is read


@dataclass(frozen=True)
class Entry:
    """A motion on the page: one that was made, or one that was uploaded."""

    name: str
    motion: MotionFile
    export: Export | None = None  # None of an upload
    note: str = ""  # what should be said of it

    def described(self) -> dict[str, object]:
        title = self.export.title if self.export else self.motion.path.name
        frames, fps = self.motion.frames, self.motion.spec.fps
        return {"motion": self.name, "title": title, "frames": frames, "fps": fps, "note": self.note}


class Shelf:
    """The newest motions; older ones go, so that memory stays as it is however many are made."""

    def __init__(self, kept: int = KEPT):
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._kept, self._lock = kept, threading.Lock()

    def add(self, entry: Entry) -> Entry:
        with self._lock:
            self._entries[entry.name] = entry
            while len(self._entries) > self._kept:
                self._entries.popitem(last=False)
        return entry

    def find(self, name: str) -> Entry:
        """Raises ValueError for a motion that is gone, or never was."""
        entry = self._entries.get(name)
        if entry is None:
            raise ValueError("that motion is not kept any more: make it again")
        return entry


class Studio:
    """Pipelines, and the motions made with them."""

    def __init__(self, pipeline: MotionPipeline, upper: MotionPipeline | None, why_no_upper: str = ""):
        self.pipeline, self.upper, self.why_no_upper = pipeline, upper, why_no_upper
        self.shelf = Shelf()
        self.examples = [Entry(path.stem, read_motion(path, pipeline.spec)) for path in _clips(pipeline)]

    def find(self, name: str) -> Entry:
        """An example, or a motion from the shelf. Raises ValueError as that does."""
        return next((entry for entry in self.examples if entry.name == name), None) or self.shelf.find(name)

    def text(self, name: str, asked: TextRequest) -> list[Entry]:
        """A motion of each sentence."""
        lengths = self.pipeline.fill_lengths(asked.texts, [asked.length] * len(asked.texts))
        how = asked.sampling
        motions = self.pipeline.generate(asked.texts, lengths, how.seed, how.temperature, how.guidance)
        return self._keep(name, [self._export(motion, asked, {"number": i}) for i, motion in enumerate(motions)])

    def long(self, name: str, asked: TextRequest) -> list[Entry]:
        """One motion of all sentences."""
        how, lengths = asked.sampling, [asked.length] * len(asked.texts)
        motions = generate_long(self.pipeline, asked.texts, lengths, how.seed, how.temperature, how.guidance)
        return self._keep(name, [self._export(motion, asked, {}) for motion in motions])

    def edit(self, name: str, asked: EditRequest) -> list[Entry]:
        """A motion with frames, or its upper body, made anew. Raises ValueError as `plan_edits` does."""
        pipeline = self.upper if asked.task == "upper" else self.pipeline
        if pipeline is None:
            raise ValueError(self.why_no_upper)
        motion, how = self.find(asked.motion).motion, asked.sampling
        plan = plan_edits(pipeline, [(motion, asked.text)], asked.task, asked.ranges)
        choices = {} if asked.task == "upper" else {"bend": asked.bend}
        settings = {"asked": asdict(asked), **pipeline.provenance}
        made = make_edits(pipeline, plan, how.seed, how.temperature, how.guidance, None, settings, **choices)
        return self._keep(name, made)

    def upload(self, name: str, title: str, content: bytes) -> Entry:
        """A motion from a file's bytes, which are data and never run. Raises ValueError for what is none."""
        suffix = Path(title).suffix.lower()
        if suffix not in SUFFIXES:
            raise ValueError("a motion is an .npy or a .bvh file")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"upload{suffix}"
            path.write_bytes(content)
            try:
                motion = self._read(path)
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), title)) from error
        return self.shelf.add(Entry(name, MotionFile(Path(Path(title).name), *motion)))

    def _read(self, path: Path) -> tuple:
        spec = self.pipeline.spec
        if path.suffix == ".bvh":
            bvh = read_bvh(path)
            if len(bvh.motion) * len(bvh.names) > MOST_PLACES or len(bvh.motion) * bvh.frame_time > LONGEST_EDIT + 1:
                raise ValueError(f"{path} is too long: at most {LONGEST_EDIT:g} s can be edited here")
        motion = read_motion(path, spec)
        if motion.frames > LONGEST_EDIT * spec.fps:
            seconds = motion.frames / spec.fps
            raise ValueError(f"{path} lasts {seconds:.0f} s: at most {LONGEST_EDIT:g} s can be edited here")
        # what cannot be edited is told now, not at the first edit
        check_edit(Edit(motion.features_without(np.zeros(motion.frames, dtype=bool)), ((0, 1),)), self.pipeline)
        return motion.features, motion.joints, spec

    def file(self, name: str, format: str) -> bytes:
        """A download of a motion. Raises ValueError for a motion that is gone, or a format that cannot be written."""
        export = self.find(name).export
        if export is None:
            raise ValueError("that motion was not made here: what was made of it can be downloaded")
        with tempfile.TemporaryDirectory() as folder:
            (path,) = write_motion(Path(folder) / "motion", [format], export)
            return path.read_bytes()

    def _export(self, motion: Motion | Edited, asked: TextRequest, more: dict) -> Export:
        marks = {"transition": motion.generated} if isinstance(motion, Edited) and motion.generated else {}
        return Export(
            motion.joints, self.pipeline.spec, motion.text, motion.fps, marks, text=motion.text,
            features=motion.features, ids=motion.ids, seed=asked.sampling.seed,
            settings={"asked": asdict(asked), **more, **self.pipeline.provenance},
        )  # fmt: skip

    def _keep(self, name: str, exports: list[Export]) -> list[Entry]:
        return [
            self.shelf.add(Entry(f"{name}-{i}", self._motion(export), export, self._note(export)))
            for i, export in enumerate(exports)
        ]

    def _note(self, export: Export) -> str:
        unknown = self.pipeline.text_encoder.unknown_words(export.text)
        return f"The model {told_unknown(unknown)}." if unknown else ""

    def _motion(self, export: Export) -> MotionFile:
        words = " ".join(export.text.split())[:60]
        return MotionFile(Path((words or "motion").replace("/", " ")), export.features, None, export.spec)


def _clips(pipeline: MotionPipeline) -> list[Path]:
    """Captured motions that ship with the code, where they are of the weights' skeleton and rate."""
    return sorted((PRETRAINED / "clips").glob("*.npy")) if pipeline.spec.dim == CLIPS.dim else []
