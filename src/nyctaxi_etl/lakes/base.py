"""Where months lie as files: a folder, or a bucket of Google Cloud Storage. Both make the same promise.

After ``put`` the object is wholly the new one or wholly the old one, and its metadata went with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

# What is sent to a bucket in one request, and at most sent again after a break.
CHUNK_BYTES = 8 << 20
# The next move where the file system refuses what a lake does with a file of this machine.
DISK_HINT = "See that there is room, and that the folder can be written to."


class Lake(Protocol):
    """What holds objects by key, each with its metadata. It is used by one thread at a time."""

    @property
    def address(self) -> str:
        """Where the lake is, as shown to users; without a secret."""

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Return what was put together with the object (nothing if that isn't known), or ``None`` if it isn't there.

        Raises ``LakeError`` if the lake refuses, ``Transient`` if asking again may help.
        """

    def put(self, key: str, path: Path, metadata: Mapping[str, str], subject: str) -> None:
        """Put the file at ``path``, with its metadata, in place of the object that is there.

        Raises ``LakeError`` if the lake refuses or another run put the object meanwhile, ``Transient`` if trying again
        may help; then the object is what it was, unless the error says otherwise.
        """

    def get(self, key: str, into: Path, subject: str) -> Path:
        """Return a local file with the object's bytes: a whole, checked copy in ``into``, or the object itself.

        Raises ``NotPublished`` if the lake has no such object, ``LakeError`` and ``Transient`` as ``put`` does.
        """

    def open(self, key: str) -> BinaryIO:
        """Open the object to be read from any place: of a bucket's, only what is read is fetched."""

    def remove(self, key: str) -> None:
        """Remove the object, if it is there."""

    def uri(self, key: str) -> str:
        """Return where the object is: ``gs://bucket/prefix/key``, or a local path."""
