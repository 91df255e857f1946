"""Archives and folders become a list of files; what is unsafe in them is refused by name and never followed.

Enters: a path that somebody else filled, and a folder of ours to unpack into. Leaves: regular files with the place that
they had, and a sentence for everything that was refused. Nothing is written outside of that folder: names with `..`,
absolute names, links and devices are not made, and a zip says how large its members are before one byte is unpacked
(Python reads no more of a member than that).

    1 GB      unpacked, of an archive; 200 MB of one inside another, three deep
    50 MB     a member, which is what a notebook may have
    20,000    files
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from autograder.errors import GraderError
from autograder.textfile import MAX_MB

MAX_ARCHIVE_MB = 1_000
MAX_INNER_MB = 200  # of an archive inside another one, packed or not
MAX_FILES = 20_000
MAX_DEPTH = 3
PASSED_OVER = frozenset((".ipynb_checkpoints", "__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "__pycache__"))
TOOLS_OWN = frozenset((".git", ".github", ".gitignore", ".vscode", ".idea", ".venv", "venv", "node_modules"))
UNIX_KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Item:
    """A file and the place that it had: the folders, and archives, that it lay in, and its own name."""

    parts: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Refused:
    """A file that was not taken, and why; a full sentence without its subject."""

    parts: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return f"{'/'.join(self.parts)} {self.why}"


@dataclass
class Listing:
    """What a path holds; folders too, since an empty one can be a student's."""

    files: list[Item] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)

    @property
    def everything(self) -> list[Item | Refused]:
        """Files and what was refused."""
        return [*self.files, *self.refused]


def is_archive(path: Path) -> bool:
    """Whether a path is a regular file named like a zip archive."""
    return path.suffix.lower() == ".zip" and not path.is_symlink() and path.is_file()


def list_files(root: Path, scratch: Path | None) -> Listing:
    """All files under a folder or in an archive; archives are unpacked into `scratch`, left packed where it is None.

    Raises GraderError where `root` itself cannot be listed, is no whole archive or is larger than the stated limit.
    """
    listing = Listing()
    if root.is_dir():
        _list_folder(root, (), listing, scratch)
    elif scratch is None:
        raise GraderError(f"{root} is an archive, and no folder was named to unpack it into")
    elif why := _unpack(root, (), scratch / root.name, listing, 1):
        raise GraderError(f"{root.name} {why}. Give a whole download, or unpack it yourself and give the folder.")
    return listing


def inside(listing: Listing, folder: str) -> Listing:
    """What lies in one of the topmost folders, with its place in there."""
    return Listing(
        [Item(each.parts[1:], each.path) for each in listing.files if each.parts[0] == folder and each.parts[1:]],
        {each[1:] for each in listing.folders if each[0] == folder and each[1:]},
        [Refused(each.parts[1:], each.why) for each in listing.refused if each.parts[0] == folder and each.parts[1:]],
    )


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is what an operating system or a tool leaves behind."""
    return name in PASSED_OVER or name in TOOLS_OWN or name.startswith("._")


def _list_folder(folder: Path, parts: tuple[str, ...], listing: Listing, scratch: Path | None) -> None:
    for entry in _entries(folder):
        place = (*parts, entry.name)
        if entry.is_symlink() and entry.is_dir():
            listing.refused.append(Refused(place, "is a link to a folder and was not followed"))
        elif entry.is_dir():
            listing.folders.add(place)
            _list_folder(entry, place, listing, scratch)
        else:
            _add_file(Item(place, entry), listing, scratch and scratch.joinpath(*place), 1)


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise GraderError(f"{folder} cannot be listed ({error.strerror}). Give yourself the right to read it.") from error
    return [entry for entry in entries if not is_passed_over(entry.name)]


def _add_file(item: Item, listing: Listing, folder: Path | None, depth: int) -> None:
    """One more file; an archive is replaced by what it holds, unpacked into `folder`."""
    if len(listing.files) >= MAX_FILES:
        raise GraderError(f"there are more than {MAX_FILES:,} files beside {item.path}. Is it the right folder?")
    if folder is None or not is_archive(item.path):
        listing.files.append(item)
    elif depth > MAX_DEPTH:
        listing.refused.append(Refused(item.parts, f"is an archive more than {MAX_DEPTH} deep and was not unpacked"))
    elif why := _unpack(item.path, item.parts, folder, listing, depth + 1):
        listing.refused.append(Refused(item.parts, why))
    else:
        listing.folders.add(item.parts)


def _unpack(archive: Path, parts: tuple[str, ...], folder: Path, listing: Listing, depth: int) -> str:
    """Unpacks what is safe in an archive; why it was refused as a whole, if it was."""
    most_mb = MAX_ARCHIVE_MB if depth == 1 else MAX_INNER_MB
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [each for each in opened.infolist() if not any(map(is_passed_over, _name(each).split("/")))]
            size_mb = sum(each.file_size for each in members if each.file_size <= _most(each)) / 1e6
            if len(members) > MAX_FILES:
                return f"holds {len(members):,} files, more than {MAX_FILES:,}, and was not unpacked"
            if size_mb > most_mb:
                return f"would unpack to {size_mb:,.0f} MB, more than {most_mb:,} MB, and was not"
            for member in members:
                _take(opened, member, parts, folder, listing, depth)
    except OSError as error:
        return f"cannot be opened ({error.strerror or error})"
    except DAMAGED as error:
        return f"is no whole zip archive ({error}): it was cut off on its way, or is something else"
    return ""


def _take(
    opened: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    parts: tuple[str, ...],
    folder: Path,
    listing: Listing,
    depth: int,
) -> None:
    """Unpacks one member, or says why not."""
    inside = tuple(part for part in _name(member).split("/") if part not in ("", "."))
    place, target = (*parts, *inside), folder.joinpath(*inside)
    if why := _why_refused(member):
        listing.refused.append(Refused(place, why))
        return
    listing.folders |= {place[:end] for end in range(len(parts) + 1, len(place) + member.is_dir())}
    if member.is_dir():
        return
    try:
        target = _write(opened, member, target)
    except (*DAMAGED, OSError) as error:
        listing.refused.append(Refused(place, f"could not be unpacked ({error})"))
    else:
        item = Item((*place[:-1], target.name), target)
        _add_file(item, listing, target.with_name(f"{target.name}.unpacked"), depth)


def _name(member: zipfile.ZipInfo) -> str:
    """A member's name with / between folders; some packers write UTF-8 without saying so."""
    name = member.filename.replace("\\", "/")
    if not member.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", name)


def _most(member: zipfile.ZipInfo) -> int:
    """Bytes that a member may have."""
    return 1_000_000 * (MAX_INNER_MB if member.filename.lower().endswith(".zip") else MAX_MB)


def _why_refused(member: zipfile.ZipInfo) -> str:
    name, kind = _name(member), stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return "points outside of its archive and was not unpacked"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"is {UNIX_KINDS.get(kind, 'no regular file')} and was not followed"
    if member.flag_bits & 1:
        return "is locked with a password"
    if member.file_size > _most(member):
        return f"would unpack to {member.file_size / 1e6:,.0f} MB, more than {_most(member) // 1_000_000} MB, and was not"
    return ""


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path:
    """Writes a member with its own time, beside another one of its name where there is one; returns where it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    stem, ending = target.stem, target.suffix
    for number in range(1, MAX_FILES):
        try:
            file = target.open("xb")
        except FileExistsError:
            target = target.with_name(f"{stem} ({number}){ending}")
        else:
            break
    with file, opened.open(member) as packed:
        shutil.copyfileobj(packed, file)
    with contextlib.suppress(ValueError, OverflowError):  # a date that there is not: the file keeps today's
        moment = time.mktime((*member.date_time, 0, 0, -1))
        os.utime(target, (moment, moment))
    return target
