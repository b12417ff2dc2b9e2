"""What the file system refuses names the path and the next move; what is not the file system's is left alone."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from nyctaxi_etl.core.disk import disk_errors_as
from nyctaxi_etl.core.errors import LakeError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_refused_path_is_named(tmp_path: Path) -> None:
    """It is the one that the system names; the given one where it names none."""
    with (
        pytest.raises(LakeError, match=r"^zones: .*nothing: No such file") as caught,
        disk_errors_as(LakeError, tmp_path, "Make room.", subject="zones"),
    ):
        (tmp_path / "nothing").read_bytes()
    assert caught.value.hint == "Make room."
    with pytest.raises(LakeError, match=f"^{tmp_path}: full"), disk_errors_as(LakeError, tmp_path, ""):
        raise OSError(errno.ENOSPC, "full")


def test_some_refusals_are_the_users_to_mend(tmp_path: Path) -> None:
    """Their numbers become usage errors."""
    with pytest.raises(UsageError, match="nothing"), disk_errors_as(LakeError, tmp_path, "", usage={errno.ENOENT}):
        (tmp_path / "nothing").read_bytes()


def test_an_error_without_a_number_passes(tmp_path: Path) -> None:
    """Arrow says ``OSError`` of damaged bytes, too."""
    arrows = OSError("Couldn't deserialize thrift")
    with pytest.raises(OSError, match="thrift"), disk_errors_as(LakeError, tmp_path, ""):
        raise arrows
