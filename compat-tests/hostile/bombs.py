"""Compressed blocks of zeros that are far larger than they look, for each codec: code, bytes."""
import gzip
import struct

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4


def gzip_zeros(size):
    return gzip.compress(b"\0" * size, 9)


def zstd_zeros(size):
    """A frame of blocks of the run-length type: four bytes for 128 KiB."""
    out = bytearray(b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x78")  # window of 32 MiB, size not said
    step = 128 * 1024
    while size > 0:
        run = min(step, size)
        size -= run
        header = run << 3 | 1 << 1 | (1 if size == 0 else 0)
        out += header.to_bytes(3, "little") + b"\0"
    return bytes(out)


def lz4_zeros(size):
    """A frame of blocks of 4 MiB: a zero, then a match that goes on and on."""
    out = bytearray(b"\x04\x22\x4d\x18\x40\x70\xdf")
    while size > 0:
        run = min(4 << 20, size)
        size -= run
        if run < 32:
            out += struct.pack("<I", run | 1 << 31) + b"\0" * run
            continue
        length = run - 1 - 8 - 4 - 15  # one literal before the match, eight behind it
        block = b"\x1f\0" + b"\1\0" + b"\xff" * (length // 255) + bytes([length % 255]) + b"\x80" + b"\0" * 8
        out += struct.pack("<I", len(block)) + block
    return bytes(out) + b"\0\0\0\0"


def snappy_zeros(size, claim=None):
    """A raw block: a zero, then copies of 64 bytes, three bytes each."""
    left = claim if claim is not None else size
    out = bytearray()
    while left > 0x7f:
        out.append(left & 0x7f | 0x80)
        left >>= 7
    out.append(left)
    out += b"\0\0"
    size -= 1
    whole = bytes([63 << 2 | 2]) + b"\1\0"
    out += whole * (size // 64)
    if size % 64:
        out += bytes([(size % 64 - 1) << 2 | 2]) + b"\1\0"
    return bytes(out)


ZEROS = {GZIP: gzip_zeros, SNAPPY: snappy_zeros, LZ4: lz4_zeros, ZSTD: zstd_zeros}
