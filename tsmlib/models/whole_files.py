"""Files of weights that tell whether they are whole.

`torch.save` writes a zip archive, and `torch.load` looks at none of its checksums: with a bit
flipped, a file loads without a word. A file of ours ends in the SHA-256 of all bytes before it, as
the comment of the archive, which other readers skip. Of other archives the checksums are checked.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import torch

MARK = b"sha256 "  # in front of the digest
SEAL = len(MARK) + 64  # bytes of both
MOST = 2**30  # bytes that an archive may unpack to, if they are more than the archive has
CHUNK = 2**20


def as_bytes(content: dict) -> memoryview:
    """Return the bytes of a file of weights: what `torch.save` writes, and its digest."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(-2, io.SEEK_END)  # the last field of an archive: how long its comment is
    buffer.write(SEAL.to_bytes(2, "little") + MARK)
    buffer.write(hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    return buffer.getbuffer()


def check_whole(path: Path) -> None:
    """Check an archive's size once unpacked, then its digest, or the checksums where it has none.

    Files of PyTorch before 1.6 are no archives, and have neither.

    Raises:
        ValueError, zipfile.BadZipFile: the file is damaged, or asks for too much memory.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return
        file.seek(max(0, size - SEAL))
        seal = file.read()
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max(size, MOST):
            raise ValueError(f"{size} bytes unpack to {unpacked}")
        if not (archive.comment or seal.startswith(MARK)):
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is another")
            return
    if seal != MARK + _digest(path, size - SEAL + len(MARK)):
        raise ValueError("its digest is another")


def _digest(path: Path, size: int) -> bytes:
    """Return the hexadecimal SHA-256 of the first bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, CHUNK))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest().encode()
