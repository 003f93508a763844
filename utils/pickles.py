"""Pickles of unknown origin: what has to be known before one is read, even by an unpickler that runs nothing."""

import pickle
import pickletools


def check_pickle(content: bytes) -> None:
    """Raises UnpicklingError, or what pickletools does, for one that is cut off or that would take memory out of all
    proportion to its size: places in the memo far beyond what a file of that size can fill, for which Python makes
    room at once, or strings longer than the file.
    """
    for opcode, value, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and value > len(content):
            raise pickle.UnpicklingError(f"it wants room for {value} objects")
