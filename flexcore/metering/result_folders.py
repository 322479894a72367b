"""Folders of results: they appear whole, and the same result again leaves them as they are."""

import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flexcore.errors import FileError
from flexcore.metering.reading_layout import published, refuse, sync

MANIFEST = "manifest.json"
_ASIDE = ("files", "cites", "reason", "inputs")


@contextmanager
def temporary_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder beside `out`, which is removed at the end unless `publish_folder` moved it."""
    target = Path(out)
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_folder(folder: Path, out: str | os.PathLike[str], manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the folder its name and return the paths of its files.

    Parameters
    ----------
    folder : Path
        Of `temporary_folder`; its files are synced already.
    out : path
    manifest : mapping
        What tells the result from others, its "digest" among it; the names of the "files" in order; and, which does not
        tell results apart, what the run "cites", the "reason", and what is kept of its "inputs".

    Raises
    ------
    FileError
        FX-B066 if `out` exists and is another result by its manifest, or its tables are not those of `folder`.
    """
    target = Path(out)
    with published(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(dict(manifest), indent=1), encoding="utf-8")
    if not target.exists():
        os.replace(folder, target)
        sync(target.parent)
        return tuple(str(target / name) for name in manifest["files"])
    try:
        earlier = read_manifest(target)
        same = all(earlier[name] == value for name, value in manifest.items() if name not in _ASIDE)
        files = tuple(str(target / name) for name in earlier["files"])
    except (FileError, KeyError, TypeError):
        same, files = False, ()
    if not same:
        refuse("FX-B066", f"{target} exists and holds something else", ids=[str(target)], hint="name a new folder")
    if not _same_tables([str(folder / name) for name in manifest["files"]], files):
        message = f"{target} holds this result by its manifest, but its tables were changed or are damaged"
        refuse("FX-B066", message, ids=[str(target)], hint="name a new folder, and find out who changed the old one")
    return files


def _same_tables(fresh: Sequence[str], kept: Sequence[str]) -> bool:
    """Compare files by their bytes, or by what they hold where other parts or another release wrote them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    alike = len(fresh) == len(kept)
    pairs = [([one], [other]) for one, other in zip(fresh, kept, strict=True)] if alike else [(fresh, kept)]
    try:
        for pair in pairs:
            if alike and filecmp.cmp(pair[0][0], pair[1][0], shallow=False):
                continue
            one, other = (pa.concat_tables([pq.ParquetFile(name).read() for name in names]) for names in pair)
            if not one.equals(other):
                return False
    except (OSError, pa.ArrowException):
        return False
    return True


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a folder says about its content; FX-S030 where it says nothing."""
    try:
        return dict(json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        name = os.fspath(folder)
        refuse("FX-S030", f"{name} holds no run: {MANIFEST} cannot be read", ids=[name])
        raise
