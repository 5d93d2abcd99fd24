"""ONNX files that tell whether they are whole: they end in the SHA-256 of all bytes before it.

Fields of a protobuf message come in any order, and one that repeats may come again. The digest is
one more entry of `metadata_props`, at the end, which other readers take for just that (onnx.proto:
field 14 of ModelProto, whose entries have a key, field 1, and a value, field 2).
"""

import hashlib

DIGITS = 64  # of the digest
ENTRY = b"\x0a\x06sha256\x12" + bytes([DIGITS])  # the key, and the length of the value
START = b"\x72" + bytes([len(ENTRY) + DIGITS]) + ENTRY
SEAL = len(START) + DIGITS


def seal(content: bytes) -> bytes:
    """Return the content of an ONNX file with its digest."""
    return content + START + hashlib.sha256(content).hexdigest().encode()


def unseal(content: bytes) -> bytes:
    """Return the content of an ONNX file without its digest, to be changed."""
    return content[:-SEAL] if is_sealed(content) else content


def is_sealed(content: bytes) -> bool:
    """Tell whether a content ends in a digest, be it the right one or not."""
    return content[-SEAL:-DIGITS] == START


def is_whole(content: bytes) -> bool:
    """Tell whether a content ends in its digest."""
    return is_sealed(content) and content == seal(content[:-SEAL])
