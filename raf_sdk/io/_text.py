"""Text formats, parsed in whole blocks of lines instead of line by line.

Axis legend: L lines of one kind, C characters, M numbers.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from raf_runtime.errors import MeshFileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TextLines", "number_starts", "parse_numbers"]

_SPACE, _NEWLINE, _HASH = ord(" "), ord("\n"), ord("#")


class TextLines:
    """A text file as characters, with the start and length of every line.

    Byte order mark, line continuations, old Mac line ends and indentation are undone first.

    Parameters
    ----------
    data
        The content of the file, not empty.
    """

    def __init__(self, data: bytes) -> None:
        self.chars = np.frombuffer(_normalised(data), np.uint8)
        ends = np.flatnonzero(self.chars == _NEWLINE)
        self.starts = np.concatenate([[0], ends[:-1] + 1])
        self.lengths = ends + 1 - self.starts

    def char(self, position: int) -> NDArray[np.uint8]:
        """The character at a position of every line; past the end of a line it is one of the next line's."""
        return self.chars[np.minimum(self.starts + position, len(self.chars) - 1)]

    def text(self, line: int) -> bytes:
        """One line."""
        return self.chars[self.starts[line] : self.starts[line] + self.lengths[line]].tobytes()

    def block(self, kind: NDArray[np.bool_], keyword: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Gather the lines of one kind.

        Parameters
        ----------
        kind
            True for the lines to take.
        keyword
            Length of the word that starts each of them; no line may be shorter.

        Returns
        -------
        chars
            (C,) uint8, writeable, with keywords and comments blanked.
        offsets
            (L,) where each line starts in it.
        """
        chars = self.chars[np.repeat(kind, self.lengths)]
        lengths = self.lengths[kind]
        offsets = np.cumsum(lengths) - lengths
        for i in range(keyword):
            chars[offsets + i] = _SPACE
        for position in np.flatnonzero(chars == _HASH):
            line = np.searchsorted(offsets, position, side="right") - 1
            chars[position : offsets[line] + lengths[line] - 1] = _SPACE
        return chars, offsets

    def error(self, line: int, problem: str) -> MeshFileError:
        """Make the error that quotes a line with its number."""
        text = self.text(line).strip().decode("utf-8", errors="replace")
        return MeshFileError(
            f"line {line + 1}, {text if len(text) <= 60 else text[:57] + '...'!r}: {problem}"
        )

    def rows(self, kind: NDArray[np.bool_], keyword: int, width: int) -> NDArray[Any]:
        """Parse the first numbers of every line of one kind.

        Parameters
        ----------
        kind
            True for the lines to parse.
        keyword
            Length of the word that starts each of them.
        width
            How many numbers to take; more may follow.

        Returns
        -------
        ndarray
            (L, width) float64.

        Raises
        ------
        MeshFileError
            A line with fewer numbers, or with something that is none.
        """
        chars, offsets = self.block(kind, keyword)
        if len(offsets) == 0:
            return np.empty((0, width))
        begins = number_starts(chars <= _SPACE)
        counts = np.diff(np.searchsorted(begins, offsets), append=len(begins))
        if counts.min() < width:
            line = int(np.flatnonzero(kind)[np.argmax(counts < width)])
            raise self.error(line, f"expected {width} numbers")
        values = parse_numbers(chars, np.float64, len(begins))
        if values is None:
            raise self.unreadable(kind, float)
        return values[(np.cumsum(counts) - counts)[:, None] + np.arange(width)]

    def unreadable(self, kind: NDArray[np.bool_], number: type[float] | type[int]) -> MeshFileError:
        """Find the line that the block parser stumbled over; ``/`` separates numbers as well."""
        for line in np.flatnonzero(kind).tolist():
            try:
                for token in self.text(line).partition(b"#")[0].split()[1:]:
                    first, *others = token.split(b"/")
                    number(first)
                    for other in others:
                        number(other or 0)
            except ValueError:
                return self.error(line, "not a number")
        return MeshFileError("the file holds characters that are not numbers; export it again")


def number_starts(gap: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where numbers start, (M,), in characters of which (C,) ``gap`` separates them; the first is a gap."""
    return np.flatnonzero(~gap[1:] & gap[:-1]) + 1


def parse_numbers(chars: NDArray[np.uint8], dtype: type[np.generic], count: int) -> NDArray[Any] | None:
    """Parse numbers separated by white space.

    Parameters
    ----------
    chars
        (C,) uint8 characters.
    dtype
        The type of the numbers.
    count
        How many there are, M.

    Returns
    -------
    ndarray or None
        (M,) numbers, or None where the text holds anything else.
    """
    if count == 0:
        return np.empty(0, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", DeprecationWarning
        )  # NumPy before 2.3 warns and returns what it could read
        try:
            values = np.fromstring(chars.tobytes(), dtype, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    return values if len(values) == count else None


def _normalised(data: bytes) -> bytes:
    """Each of these is rare, so it is tested for before the file is copied."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    if b"\\" in data:
        data = data.replace(b"\\\r\n", b"   ").replace(b"\\\n", b"  ")
    if data[:1] in (b" ", b"\t") or b"\n " in data or b"\n\t" in data:
        data = re.sub(rb"(?m)^[ \t]+", b"", data)
    return data if data.endswith(b"\n") else data + b"\n"
