"""What a published file is made of: its columns and what they mean, its blocks of rows, and the rows it can't give."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pyarrow as pa

from nyctaxi_etl.core.errors import CorruptFile, SchemaDrift
from nyctaxi_etl.core.limits import SAME_MEANING
from nyctaxi_etl.core.signatures import kind_of
from nyctaxi_etl.schema.columns import key
from nyctaxi_etl.schema.datasets import ADDED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from nyctaxi_etl.schema.columns import Column


Data = TypeVar("Data")


class Reject(NamedTuple):
    """A row that is not loaded: its line (or row) in the file from 1, why, and its raw text."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Layout:
    """The columns of one file: as published, and what each means (``None``: nothing that is declared).

    ``width`` is how many fields a row has, which may be more than there are names.
    """

    names: tuple[str, ...]
    columns: tuple[Column | None, ...]
    width: int

    @property
    def unknown(self) -> tuple[str, ...]:
        """Published names that no declared column knows, but those that copies add."""
        pairs = zip(self.names, self.columns, strict=True)
        names = (name.strip() for name, column in pairs if column is None and key(name) not in ADDED_COLUMNS)
        return tuple(name.replace("\x00", "\ufffd") for name in names)

    @property
    def fields(self) -> tuple[str, ...]:
        """A distinct name for every field of a row; fields beyond the published names included."""
        return tuple(f"f{index}" for index in range(self.width))


@dataclass(frozen=True)
class Block(Generic[Data]):
    """Some rows of a file, still raw: whole lines of CSV (bytes), or a batch of Parquet.

    ``first`` is the number of its first line or row in the file, from 1.
    """

    first: int
    data: Data


@dataclass(frozen=True)
class Rows:
    """A parsed block: ``columns`` holds, by canonical name, the arrays of its published columns, each ``count`` long.

    ``surplus`` are fields beyond the published names, which must be empty. ``broken`` are lines that are no rows, as
    rejects. ``originals`` returns the line numbers and raw texts of the rows at the given indices, which are in order.
    """

    count: int
    columns: dict[str, list[pa.Array]]
    surplus: list[pa.Array]
    broken: pa.RecordBatch
    originals: Callable[[np.ndarray], tuple[np.ndarray, pa.Array]]


def find_layout(names: Sequence[str], columns: Sequence[Column], path: Path, width: int) -> Layout:
    """Find what each published name means; rows are ``width`` fields wide.

    Raises ``SchemaDrift`` when no name means a required column, and when too many mean the same one.
    """
    meaning = {name: column for column in columns for name in column.keys}
    meant = tuple(meaning.get(key(name)) for name in names)
    for column in columns:
        if column.required and column not in meant:
            message = f"{path.name}: no column means {column.name}; its columns begin {','.join(names)[:80]!r}."
            raise SchemaDrift(message, f"Known names: {', '.join((column.name, *column.aliases))}.")
    for name, count in Counter(column.name for column in meant if column).items():
        if count > SAME_MEANING:
            message = f"{path.name}: {count} of its columns mean {name}."
            raise SchemaDrift(message, f"At most {SAME_MEANING} may: look at what its source holds.")
    return Layout(tuple(names), meant, width)


def refuse_other_kinds(head: bytes, path: Path) -> None:
    """Raise ``CorruptFile`` if a file's first bytes are of another kind than its name says."""
    kind = kind_of(head)
    if kind and f".{kind.lower()}" != path.suffix:
        message = f"{path.name} is {kind}, not what its name says."
        raise CorruptFile(message, "It may be an error or log-in page, or misnamed: fetch it again.")


def for_people(array: pa.Array) -> list[Any]:
    """Return values for people to read, of which any may be one that Python can't hold."""
    try:
        values = list(array.to_pylist())
    except (ValueError, OverflowError):
        return [_for_people(scalar) for scalar in array]
    # Old writers leave text without its annotation: bytes are shown as the text that they are.
    return [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in values]


def _for_people(scalar: pa.Scalar) -> Any:
    """Return one value; as text where it is none that Python can hold (a year 10,000, bytes that aren't UTF-8)."""
    while isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    except (ValueError, OverflowError):
        return scalar.cast(pa.string()).as_py()
