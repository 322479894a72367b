"""Folders of results: they appear whole, and the same result again leaves them as they are."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
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
        FX-B066 if `out` exists and its manifest says that it is another result.
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
    if not same or not all(Path(name).exists() for name in files):
        refuse("FX-B066", f"{target} exists and holds something else", ids=[str(target)], hint="name a new folder")
    return files


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a folder says about its content; FX-S030 where it says nothing."""
    try:
        return dict(json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        name = os.fspath(folder)
        refuse("FX-S030", f"{name} holds no run: {MANIFEST} cannot be read", ids=[name])
        raise
