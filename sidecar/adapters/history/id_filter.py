"""Filters that say which row groups of a file may hold an id: Bloom filters, one per row group and kind of id.

All filters of one kind in a file have the same number of blocks of 512 bits. An id sets (and looks at) four bits of one
block, as the MD5 of its UTF-8 text says: the lower 64 bits as a number h choose block `(h >> 36) % blocks` and the bits
`(h >> 9 * n) & 511` for n in 0 to 3. The first blocks of all row groups are stored together, then their second blocks,
and so on, so that a look-up reads one short part of the file. At 20 bits for an id, about one row group in 900 is read
in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5

BITS_PER_ID = 4
"""Bits that an id sets."""
BLOCK_BITS = 512
BLOCK_BYTES = BLOCK_BITS // 8
FILTER_BITS_PER_ID = 20
MAX_BLOCKS = 1 << 16


def hash_id(text: str) -> int:
    """Return the lower 64 bits of the MD5 of an id."""
    return int.from_bytes(md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()[:8], "little")


def choose_block(hashed: int, blocks: int) -> int:
    """Return the number of the block in which the bits of an id are set."""
    return (hashed >> 36) % blocks


def mask_of(hashed: int) -> int:
    """Return the bits of an id within its block as bytes. Bit 0 is the highest bit of the first byte."""
    mask = 0
    for n in range(BITS_PER_ID):
        mask |= 1 << (BLOCK_BITS - 1 - ((hashed >> 9 * n) & (BLOCK_BITS - 1)))
    return mask


def count_blocks(ids: int) -> int:
    """Return the number of blocks for a number of different ids."""
    return min(max(1, -(-ids * FILTER_BITS_PER_ID // BLOCK_BITS)), MAX_BLOCKS)


def interleave(filters: Sequence[bytes], blocks: int) -> bytes:
    """Arrange the filters of all row groups for storage: block by block instead of row group by row group."""
    return b"".join(
        each[start : start + BLOCK_BYTES] for start in range(0, blocks * BLOCK_BYTES, BLOCK_BYTES) for each in filters
    )


def locate_blocks(hashed: int, blocks: int, row_groups: int) -> tuple[int, int]:
    """Return where the blocks of an id are in what `interleave` returned: start and length in bytes."""
    length = row_groups * BLOCK_BYTES
    return choose_block(hashed, blocks) * length, length


def find_row_groups(stored: bytes, hashed: int) -> list[int]:
    """Return the row groups that may hold an id, from the bytes that `locate_blocks` named."""
    mask = mask_of(hashed)
    return [
        group
        for group in range(len(stored) // BLOCK_BYTES)
        if int.from_bytes(stored[group * BLOCK_BYTES : (group + 1) * BLOCK_BYTES], "big") & mask == mask
    ]
