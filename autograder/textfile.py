"""A file that nobody has looked at yet becomes text.

Enters: a path. Leaves: the file's text and how it was decoded; or a SubmissionError. Reads regular files only, up to a
stated size, and never follows a link.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from autograder.errors import SubmissionError
from autograder.safetext import NAME_LIMIT, one_line

MAX_MB = 50
ASK = "Ask the student for the .ipynb file again (Colab: File, Download, Download .ipynb)."
BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a picture"),
)


class NotANotebookError(ValueError):
    """The text is not a notebook; the message says what it is instead."""


def read_regular_file(path: Path) -> bytes:
    """Content of a file; raises SubmissionError for links, devices, FIFOs, folders, what is too large and what may
    not be read.
    """
    try:
        _check_kind(path, os.lstat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SubmissionError(_why_not_opened(path, error)) from error
    with os.fdopen(descriptor, "rb") as file:
        _check_kind(path, os.fstat(descriptor))  # again: it may have been exchanged in between
        return file.read(MAX_MB * 1_000_000 + 1)


def _check_kind(path: Path, status: os.stat_result) -> None:
    name = one_line(path.name, NAME_LIMIT)
    if stat.S_ISLNK(status.st_mode):
        raise SubmissionError(f"{name} is a symbolic link and was not followed. {ASK}")
    if not stat.S_ISREG(status.st_mode):
        raise SubmissionError(f"{name} is not a regular file (a folder, device or pipe) and was not read. {ASK}")
    if status.st_size > MAX_MB * 1_000_000:
        raise SubmissionError(
            f"{name} has {status.st_size / 1e6:.0f} MB, more than the {MAX_MB} MB that a notebook may have. Ask "
            "the student to clear all outputs (Colab: Edit, Clear all outputs) and to hand it in again."
        )


def _why_not_opened(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{one_line(str(path))} does not exist. Check the name."
    if isinstance(error, PermissionError):
        return f"{one_line(str(path))} may not be read ({error.strerror}). Give yourself the right to read it: chmod u+r."
    return f"{one_line(path.name, NAME_LIMIT)} cannot be opened ({error.strerror}). {ASK}"


def decode(data: bytes) -> tuple[str, list[str]]:
    """Text of a file in any encoding that notebooks come in, with a repair where it is not UTF-8."""
    if not data.strip(b" \t\r\n\0"):
        raise NotANotebookError("is empty")
    for start, name in OTHER_FORMATS:
        if data.startswith(start):
            raise NotANotebookError(f"is {name}, not a notebook")
    encoding = next((name for bom, name in BOMS if data.startswith(bom)), None) or _guess_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise NotANotebookError("is no text in any encoding that notebooks come in") from None
    if encoding == "utf-8":
        return text, []
    name = {"utf-8-sig": "UTF-8 with a byte order mark", "cp1252": "Windows text"}.get(encoding, encoding.upper())
    return text, [f"The file is {name} instead of plain UTF-8; it was read as that."]


def _guess_encoding(data: bytes) -> str:
    """UTF-8 where it is valid; UTF-16 where every other byte of the start is NUL; else the old Windows code page."""
    start = data[:64]
    if len(start) >= 4 and not any(start[1::2]) and all(start[0::2]):
        return "utf-16-le"
    if len(start) >= 4 and not any(start[0::2]) and all(start[1::2]):
        return "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def clean(text: str) -> str:
    """Text with \\n line ends and without lone surrogates, which no encoder takes."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
