"""Names what takes most of a zip."""

import io
import zipfile
from collections import Counter
from pathlib import PurePosixPath


def largest(archive: bytes, count: int = 10) -> list[str]:
    """Name the folders of an artifact, down to the second level, that take most of its zip."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(io.BytesIO(archive)) as entries:
        for entry in entries.infolist():
            folders = [part for part in PurePosixPath(entry.filename).parent.parts if part != "__pycache__"]
            sizes["/".join(folders[:2]) or entry.filename] += entry.compress_size
    return [f"{name}: {size / 1000:,.0f} KB" for name, size in sizes.most_common(count)]
