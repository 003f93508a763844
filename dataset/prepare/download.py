"""The published files, fetched from Google Drive into their places: what the download_*.sh scripts run.

    python -m dataset.prepare.download glove|extractor|model|upperbody

What is complete is skipped without a request. Files that are there are kept, never overwritten. A broken transfer goes
on where it stopped, and so does a broken unpacking. Where Google refuses, one line names the page to fetch by hand and
where to put the file; the next run takes it from there. Downloads stay in output/download: remove them when you like.
"""

import argparse
import os
import re
import shutil
import stat
import sys
import textwrap
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import fail
from utils.files import BROKEN_ARCHIVE, write_text, write_whole

FOLDER = Path("output/download")
RETRIES = 3  # of a transfer that breaks off; each goes on where the last one stopped
TIMEOUT = 60  # seconds without a byte
LARGEST = 50e9  # bytes unpacked; the published archives are far below


class Unfinished(Exception):
    """Why a download is not in its place, and what a person can do about it."""


@dataclass(frozen=True)
class Download:
    """One file on Google Drive and where it belongs."""

    name: str  # under output/download
    drive_id: str
    needed: tuple[str, ...]  # what is there when all is done; a name that ends in / is a folder with something in it
    # Of a zip: file or folder inside, however deep > the folder it goes to. A bare file has none: it goes to needed[0].
    places: dict[str, str] = field(default_factory=dict)

    @property
    def fetched(self) -> Path:
        """Where the file lies once it is fetched, by this script or by hand."""
        return FOLDER / self.name

    @property
    def page(self) -> str:
        """The address for a browser."""
        return f"https://drive.google.com/file/d/{self.drive_id}/view"


def _extractor(dataname: str, drive_id: str) -> Download:
    """The judge's weights and the statistics that belong to it."""
    folder = f"checkpoints/{dataname}"
    statistics = f"{folder}/VQVAEV3_CB1024_CMT_H1024_NRES3/meta"
    return Download(
        name=f"{dataname}.zip",
        drive_id=drive_id,
        needed=(
            f"{folder}/text_mot_match/model/finest.tar",
            f"{folder}/Comp_v6_KLD005/opt.txt",
            f"{statistics}/mean.npy",
            f"{statistics}/std.npy",
        ),
        places=dict.fromkeys(("text_mot_match", "Comp_v6_KLD005", "VQVAEV3_CB1024_CMT_H1024_NRES3"), folder),
    )


GLOVE_FILES = ("our_vab_data.npy", "our_vab_words.pkl", "our_vab_idx.pkl")
VQ_RUN, TRANS_RUN = "2024-06-03-20-22-07_retrain", "2024-06-04-09-29-20_trans_name_b128"
EVAL_RUN = "2024-06-06-22-59-28_eval_name_b128"

DOWNLOADS = {
    "glove": (
        Download(
            name="glove.zip",
            drive_id="1bCeS6Sh_mLVTebxIgiUHgdPrroW06mb6",
            needed=tuple(f"glove/{name}" for name in GLOVE_FILES),
            places=dict.fromkeys(GLOVE_FILES, "glove"),
        ),
    ),
    "extractor": (
        _extractor("t2m", "1FIiqtkt4F-GVWmnBgtZnv9W3cPWS-oM-"),
        _extractor("kit", "1KNU8CsMAnxFrwopKBBkC8jEULGLPBHQp"),
    ),
    "model": (
        Download(
            name="text-to-motion_2localLayer_rerun.zip",
            drive_id="1y7N6GgnwLe9HF02-FplXVA7TZ6zJZRUV",
            needed=(
                f"output/vq/{VQ_RUN}/net_last.pth",
                f"output/t2m/{TRANS_RUN}/net_last.pth",
                f"output/eval/{EVAL_RUN}/",
            ),
            places={VQ_RUN: "output/vq", TRANS_RUN: "output/t2m", EVAL_RUN: "output/eval"},
        ),
    ),
    "upperbody": (
        Download(
            name="vq_upperbody.pth",
            drive_id="1l0_Dva2k7YHL0bI2FTciDJclOCg0aXqb",
            needed=("output/vq/vq_upperbody/net_last.pth",),
        ),
        Download(
            name="trans_upperbody.pth",
            drive_id="1pi0nAqoAvuoOHpuNS-lMsa_esQG0n-NA",
            needed=("output/t2m/trans_upperbody/net_last.pth",),
        ),
    ),
}


def missing(entry: Download) -> list[str]:
    """What of `entry.needed` is not there."""

    def there(name: str) -> bool:
        path = Path(name)
        return path.is_dir() and any(path.iterdir()) if name.endswith("/") else path.is_file()

    return [name for name in entry.needed if not there(name)]


def damage(entry: Download, path: Path) -> str:
    """What is wrong with a fetched file, "" for nothing: a refusal often comes as a web page under the file's name."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.lstrip().startswith(b"<"):
        return "it is a web page, not the file"
    if start.startswith(b"PK"):  # torch.save writes a zip too, whose end tells a whole file from a part of one
        return "" if zipfile.is_zipfile(path) else "it breaks off in the middle"
    if entry.places:
        return "it is no zip archive"
    return "" if start.startswith(b"\x80") else "it is no torch checkpoint"  # \x80: a pickle, as older torch wrote


def partials(entry: Download) -> list[Path]:
    """What gdown keeps of broken transfers to NAME.part: it adds eight characters and .part."""
    return sorted(FOLDER.glob(f"{entry.name}.part????????.part"))


def fetch(entry: Download, mirror: str | None) -> Path:
    """The file of `entry` in output/download: fetched before or by hand, else from Google Drive or MIRROR/NAME."""
    by_hand = f"fetch {entry.page} by hand to {entry.fetched}: the next run goes on from there"
    if entry.fetched.exists():
        if wrong := damage(entry, entry.fetched):
            raise Unfinished(f"{entry.fetched} is not usable ({wrong}): remove it, then run this again, or {by_hand}")
        return entry.fetched
    FOLDER.mkdir(parents=True, exist_ok=True)
    came = FOLDER / f"{entry.name}.part"  # the whole transfer, not yet looked at
    size = FOLDER / f"{entry.name}.part.size"  # what a partial file should come to
    parts = partials(entry)
    if not parts:
        size.unlink(missing_ok=True)
    elif size.exists() and parts[0].stat().st_size == int(size.read_text()):
        os.replace(parts[0], came)  # ended between its last byte and its new name: there is no rest to ask for

    def watch_size(_: int, total: int | None) -> None:
        """Never go on with the old file's bytes when the server has a new one: gdown cannot know that between runs."""
        if total is None:
            return
        if not size.exists():
            write_text(size, str(total))
        elif int(size.read_text()) != total:
            for path in partials(entry):
                path.unlink()
            raise Unfinished(f"{entry.name} changed on the server since the last try: run this again to start it over")

    if not came.exists():
        try:
            import gdown  # here, so that files fetched by hand are unpacked without it

            source = {"url": f"{mirror.rstrip('/')}/{entry.name}"} if mirror else {"id": entry.drive_id}
            print(f"fetching {entry.name} from {mirror or entry.page}", flush=True)
            gdown.download(
                **source,
                output=str(came),
                resume=True,
                retries=RETRIES,
                timeout=TIMEOUT,
                quiet=not sys.stderr.isatty(),
                progress=watch_size,
            )
        except Unfinished:
            raise
        except Exception as error:  # gdown reads Google's pages: what a page it does not know makes it raise is open
            reason = textwrap.shorten(str(error).split(".\n")[0] or type(error).__name__, 200, placeholder=" ...")
            kept = f" ({parts[0]} holds what came; remove it to start over)" if (parts := partials(entry)) else ""
            raise Unfinished(f"{entry.name} did not come ({reason}): run this again{kept}, or {by_hand}") from error
    if wrong := damage(entry, came):
        came.unlink()  # what the server sent just now, of no use
        size.unlink(missing_ok=True)
        raise Unfinished(f"{entry.name} did not come ({wrong}): run this again later, or {by_hand}")
    os.replace(came, entry.fetched)
    size.unlink(missing_ok=True)
    return entry.fetched


def safe_parts(member: zipfile.ZipInfo) -> list[str]:
    """The names on a member's path; raises Unfinished where it leads out of the folder or is no plain file."""
    path = member.filename.replace("\\", "/")  # as some Windows tools write it
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in parts:
        raise Unfinished(f"its member {member.filename!r} would be written outside the folder")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Unfinished(f"its member {member.filename!r} is a link or a device")
    return parts


def place_of(parts: list[str], places: dict[str, str]) -> Path | None:
    """Where a member goes: with the innermost known name on its path, into that name's folder; None for all else."""
    if not parts or "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] == ".DS_Store":
        return None  # what macOS adds: shadows of the files, under the same folder names
    for i in reversed(range(len(parts))):
        if parts[i] in places:
            return Path(places[parts[i]], *parts[i:])
    return None


def plan(entry: Download, archive: zipfile.ZipFile) -> dict[Path, zipfile.ZipInfo]:
    """Place > member, of a whole archive that has been looked through before the first byte is written."""
    total = sum(member.file_size for member in archive.infolist())  # zipfile never reads more than this says
    free = shutil.disk_usage(".").free
    if total > min(LARGEST, 10 * free):  # 10: not all of it is taken, and its places may be on another disk
        raise Unfinished(f"it would unpack to {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
    placed = {}
    for member in archive.infolist():
        place = place_of(safe_parts(member), entry.places)
        if place is None or member.is_dir():
            continue
        other = placed.setdefault(place, member)
        if (other.CRC, other.file_size) != (member.CRC, member.file_size):
            raise Unfinished(f"its members {other.filename!r} and {member.filename!r} are both meant for {place}")
    # What tells a complete unpacking comes last, so that an interrupted one is never taken for complete.
    return dict(sorted(placed.items(), key=lambda item: item[0].as_posix() in entry.needed))


def unpack(entry: Download, path: Path) -> None:
    """The files of a zip to their places; files that are there are kept as they are."""

    def write(member: zipfile.ZipInfo, temporary: Path) -> None:
        with archive.open(member) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    try:
        with zipfile.ZipFile(path) as archive:
            for place, member in plan(entry, archive).items():
                if not os.path.lexists(place):
                    write_whole(place, lambda temporary, member=member: write(member, temporary))
                elif place.is_file() and place.stat().st_size != member.file_size:
                    print(f"kept {place}: it is not the size of the archive's file")
    except Unfinished as error:
        raise Unfinished(f"{path} is refused: {error} (the published file: {entry.page})") from error
    except BROKEN_ARCHIVE as error:
        raise Unfinished(f"{path} is damaged ({error}): remove it and run this again") from error


def bring(entry: Download, mirror: str | None) -> None:
    """Fetch and put into place what is not there; raises Unfinished where a person has to help."""
    try:
        if not missing(entry):
            print(f"{entry.name}: complete")
            return
        path = fetch(entry, mirror)
        if entry.places:
            unpack(entry, path)
        elif not os.path.lexists(entry.needed[0]):
            write_whole(entry.needed[0], lambda temporary: shutil.copyfile(path, temporary))
        if lacking := missing(entry):
            raise Unfinished(f"{path} did not give {', '.join(lacking)}: look into it, and put them there by hand")
        print(f"{entry.name}: in place, {', '.join(entry.needed)}")
    except OSError as error:
        raise Unfinished(f"{entry.name}: {error}") from error


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=DOWNLOADS)
    parser.add_argument("--mirror", metavar="URL", help="fetch URL/NAME, such as URL/glove.zip, not from Google Drive")
    args = parser.parse_args(argv)
    problems = []
    for entry in DOWNLOADS[args.what]:
        try:
            bring(entry, args.mirror)
        except Unfinished as problem:  # the next file may come all the same
            problems.append(str(problem))
    if problems:
        fail("; and ".join(problems))


if __name__ == "__main__":
    main()
