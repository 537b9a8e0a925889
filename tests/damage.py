"""Bytes as a bad disk, a bad line or a bad person leaves them."""

import numpy as np


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, bytes replaced, parts cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if not changed:
            break
        place = int(rng.integers(len(changed)))
        length = int(rng.integers(1, 9))
        match int(rng.integers(5)):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place : place + length] = rng.bytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case _:
                del changed[place:]
    return bytes(changed)
