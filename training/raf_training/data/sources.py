"""All rigs to learn from, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from raf_training.data.animals import load_animals
from raf_training.data.ict import load_ict
from raf_training.data.makehuman import load_makehuman
from raf_training.data.own import load_own
from raf_training.data.rig_source import RigSource
from raf_training.data.vitruvian import load_vitruvian
from raf_training.errors import DataError

__all__ = ["FAMILIES", "RigSource", "check_families", "load_families", "load_sources"]

FAMILIES: Final[dict[str, Callable[[Path], list[RigSource]]]] = {
    "ict": load_ict,
    "makehuman": load_makehuman,
    "vitruvian": load_vitruvian,
    "animals": load_animals,
}
# What manifests of samples call something else.
_RESERVED: Final = ("", "wardrobe")


def load_sources(data_dir: Path, names: Sequence[str] | None = None) -> dict[str, RigSource]:
    """Load rigs from their archives.

    Parameters
    ----------
    data_dir
        Folder of the archives that ``raf-data`` makes.
    names
        Source names (``makehuman/female1605``); None for all. Only the archives of these are read.

    Returns
    -------
    dict of RigSource
        By name, in the order of ``names``.

    Raises
    ------
    DataError
        If a name is unknown, or an archive is missing or unusable.
    """
    if names is None:
        return load_families(data_dir, tuple(FAMILIES))
    sources = load_families(data_dir, tuple(dict.fromkeys(name.partition("/")[0] for name in names)))
    if absent := [name for name in names if name not in sources]:
        raise DataError(f"unknown source {absent[0]!r}; there are {', '.join(sources)}")
    return {name: sources[name] for name in names}


def load_families(data_dir: Path, families: Sequence[str]) -> dict[str, RigSource]:
    """Load every rig of some families; only their archives are read.

    Parameters
    ----------
    data_dir
        Folder of the archives that ``raf-data`` makes.
    families
        Keys of ``FAMILIES``, or names of archives in that folder that ``raf-data import gltf`` made, without
        ``.npz``.

    Returns
    -------
    dict of RigSource
        By name; the base mesh of a family comes before its proxies.

    Raises
    ------
    DataError
        If a family is unknown, or an archive is missing or unusable.
    """
    check_families(Path(data_dir), families)
    return {source.name: source for family in families for source in _load_family(family, Path(data_dir))}


def check_families(data_dir: Path, families: Sequence[str]) -> None:
    """Check that families exist, without reading them.

    Raises
    ------
    DataError
        If one is neither shipped nor the name of an archive.
    """
    for family in families:
        plain = Path(family).name == family and family not in _RESERVED
        if family not in FAMILIES and not (plain and (data_dir / f"{family}.npz").is_file()):
            raise DataError(
                f"unknown family {family!r}; there are {', '.join(FAMILIES)}, and what "
                f"`raf-data import gltf -o {data_dir / 'NAME.npz'}` makes"
            )


def _load_family(family: str, data_dir: Path) -> list[RigSource]:
    if family not in FAMILIES:
        return load_own(data_dir / f"{family}.npz")
    try:
        return FAMILIES[family](data_dir)
    except KeyError as error:
        message = f"{data_dir}: the {family} archive lacks {error}; make it again with `raf-data`"
        raise DataError(message) from error
