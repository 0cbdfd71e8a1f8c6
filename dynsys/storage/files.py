"""Files that are whole or absent."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

PARTIAL = "*.partial"  # names of files that are being written, or were when a process was killed; Zarr's are such, too


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that another process, or one that comes after a crash, sees all of it or nothing."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
