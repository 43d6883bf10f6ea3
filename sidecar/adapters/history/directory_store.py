"""Files of the history in a local directory.

A file is written below `.spool`, flushed to the disk and renamed to its place; then its directory is flushed. A crash
leaves a file in the spool, which the next start removes, and never a part of a file in its place.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sidecar.adapters.history.file_store import FilePart, StoredFile
from sidecar.domain.errors import Outage, Refused

_T = TypeVar("_T")
MAX_SPOOL_AGE_S = 86_400
_REFUSALS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG})


class DirectoryStore:
    """File store in a local directory. Several processes may use it at the same time."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).expanduser()
        # Each object has a spool of its own: in a container, a later process has the same number.
        self.spool = self._root / ".spool" / f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"

    async def list_files(self, prefix: str) -> list[StoredFile]:
        """Return the files below a directory, by name."""
        return await self._run(lambda: sorted(self._walk(prefix)))

    def _walk(self, prefix: str) -> list[StoredFile]:
        files: list[StoredFile] = []
        folders = [prefix.rstrip("/")]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(self._root / folder)
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        files.append(StoredFile(name, entry.stat().st_size))
        return files

    async def read(self, parts: Sequence[FilePart]) -> list[bytes | None]:
        """Read parts of files."""
        return await self._run(lambda: [self._read_part(part) for part in parts])

    def _read_part(self, part: FilePart) -> bytes | None:
        try:
            descriptor = os.open(self._root / part.name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            return os.pread(descriptor, part.length, part.start)
        finally:
            os.close(descriptor)

    async def publish(self, local: Path, name: str) -> None:
        """Flush a file of the spool and rename it to its place."""
        await self._run(lambda: self._publish(local, self._root / name))

    def _publish(self, local: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _flush(local)
        os.replace(local, target)
        for folder in (target.parent, *target.parent.parents):
            _flush(folder)
            if folder == self._root:
                break

    async def delete(self, names: Sequence[str]) -> None:
        """Delete files, and directories that are empty then."""
        await self._run(lambda: self._delete(names))

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            (self._root / name).unlink(missing_ok=True)
        for folder in {Path(name).parent for name in names}:
            while folder != Path():
                try:
                    (self._root / folder).rmdir()
                except OSError:  # not empty, or gone
                    break
                folder = folder.parent

    async def open_local(self, file: StoredFile, parts: Sequence[tuple[int, int]] | None) -> Path | None:
        """Return the path of the stored file itself, which has all parts."""
        path = self._root / file.name
        return path if await self._run(path.exists) else None

    async def clean_spools(self) -> None:
        """Remove the spools of processes that are gone: of this host at once, of others after a day."""
        await self._run(self._clean_spools)

    def _clean_spools(self) -> None:
        self.spool.mkdir(parents=True, exist_ok=True)
        for folder in self.spool.parent.iterdir():
            host, process, _ = folder.name.rsplit("-", 2) if folder.name.count("-") >= 2 else ("", "", "")
            is_here = host == os.uname().nodename and process.isdigit()
            if folder != self.spool and (
                not _is_alive(int(process)) if is_here else time.time() - folder.stat().st_mtime > MAX_SPOOL_AGE_S
            ):
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        """Remove the spool of this process."""
        await self._run(lambda: shutil.rmtree(self.spool, ignore_errors=True))

    async def _run(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            text = f"cannot use the history's directory {self._root}: {error.strerror or error}"
            if error.errno in _REFUSALS:
                raise Refused(f"{text}; give it a directory that this user may write (history.url)") from error
            raise Outage(text) from error


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # an earlier process with this number, in a container
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
