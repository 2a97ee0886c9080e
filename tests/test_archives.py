"""Archives: what is damaged, hostile or does not fit is a named error, before anything else happens."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_training.data.archives import RAGGED, check_new, check_ragged, read_archive, write_archive
from raf_training.errors import DataError


def test_what_is_written_is_read(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "names": np.array(["x", "yz"])}
    write_archive(tmp_path / "a.npz", arrays)
    found = read_archive(tmp_path / "a.npz", {"a": ("N", 3), "names": ("N",)})
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_a_failed_write_leaves_the_old_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_archive(path, {"a": np.zeros(3)})
    before = path.read_bytes()

    class Broken:
        def __array__(self, *_: object, **__: object) -> NDArray[np.float64]:
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"a\.npz cannot be written: No space left on device"):
        write_archive(path, {"a": np.zeros(3), "b": Broken()})  # pyright: ignore[reportArgumentType]
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_names_that_cannot_be_written_are_refused_early(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not end in \.npz"):
        check_new(tmp_path / "a.npy")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        check_new(tmp_path / "nowhere" / "a.npz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_archive_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.npz"
    write_archive(path, {"a": np.random.default_rng(0).random(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"a\.npz is not a readable \.npz archive"):
        read_archive(path)


def test_a_flipped_byte_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_archive(path, {"a": np.random.default_rng(0).random(1000)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"a\.npz is not a readable \.npz archive"):
        read_archive(path)


def header(text: str) -> bytes:
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [1], }",
        "{'descr': '<f4'",
        "__import__('os')",
    ],
)
def test_headers_that_lie_are_not_believed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vertices.npy", header(text) + bytes(16))
    with pytest.raises(DataError, match=r"a\.npz is not a readable \.npz archive"):
        read_archive(path)


def test_a_directory_that_lies_is_not_believed(tmp_path: Path) -> None:
    """The sizes in the zip's directory are a claim as well: 3 GB cannot come out of a few hundred bytes."""
    path = tmp_path / "a.npz"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        text = "{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000,), }"
        archive.writestr("vertices.npy", header(text) + bytes(16))
    data = bytearray(buffer.getvalue())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (3_000_000_200).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cannot come out of it"):
        read_archive(path)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "a.npz", {"a": np.zeros(10_000)})
    monkeypatch.setattr("raf_training.data.archives.MAX_BYTES", 10_000)
    with pytest.raises(DataError, match=r"unpacks to 80,\d+ bytes; at most 10,000 are read"):
        read_archive(tmp_path / "a.npz")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_none_are_found(tmp_path: Path, bad: float) -> None:
    deltas = np.zeros((2, 5, 3), np.float16)
    deltas[1, 4, 2] = bad
    write_archive(tmp_path / "a.npz", {"deltas": deltas})
    with pytest.raises(DataError, match=rf"a\.npz: deltas\[1, 4, 2\] is {bad}"):
        read_archive(tmp_path / "a.npz")


def test_a_wrong_number_of_vertices_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", {"vertices": np.zeros((5, 3)), "deltas": np.zeros((2, 4, 3))})
    layout = {"vertices": ("V", 3), "deltas": ("P", "V", 3)}
    with pytest.raises(DataError, match=r"deltas has the shape \(2, 4, 3\), not \(P = 2, V = 5, 3\)"):
        read_archive(tmp_path / "a.npz", layout)
    with pytest.raises(DataError, match=r"a\.npz lacks 'faces'"):
        read_archive(tmp_path / "a.npz", {"faces": ("F", 4)})
    with pytest.raises(DataError, match=r"vertices has the shape \(5, 3\), not \(N = 5\)"):
        read_archive(tmp_path / "a.npz", {"vertices": ("N",)})


def ragged() -> dict[str, NDArray[np.generic]]:
    return {
        "names": np.array(["a", "b"]),
        "vertices": np.zeros((7, 3), np.float32),
        "faces": np.array([[0, 1, 2], [0, 2, 3], [0, 1, 2]]),
        "vertex_offsets": np.array([0, 4, 7]),
        "face_offsets": np.array([0, 2, 3]),
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("names", np.array(["a", "a"]), "two heads have the same name"),
        ("vertex_offsets", np.array([0, 4, 8]), "vertex_offsets do not rise from 0 to 7 in 2 steps"),
        ("vertex_offsets", np.array([1, 4, 7]), "vertex_offsets"),
        ("face_offsets", np.array([0, 0, 3]), "face_offsets"),
        ("face_offsets", np.array([0.0, 2.0, 3.0]), "face_offsets"),
        ("faces", np.array([[0, 1, 2], [0, 2, 3], [0, 1, 3]]), r"a face of 'b' is \[0, 1, 3\].* 3 vertices"),
        ("faces", np.array([[0, 1, -1], [0, 2, 3], [0, 1, 2]]), "a face of 'a'"),
        ("faces", np.array([[0, 1], [0, 2], [0, 1]]), r"not whole numbers \(F, 3\)"),
        ("faces", np.array([[-1, 1, 2, 3], [0, 2, 3, -1], [0, 1, 2, -1]]), "a face of 'a'"),
    ],
)
def test_offsets_and_faces_are_checked(name: str, value: NDArray[np.generic], message: str) -> None:
    check_ragged(Path("own.npz"), ragged())
    with pytest.raises(DataError, match=message):
        check_ragged(Path("own.npz"), {**ragged(), name: value})


def test_the_layout_fits_the_archives_of_unrigged_heads(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", ragged())
    assert read_archive(tmp_path / "a.npz", RAGGED).keys() == ragged().keys()
