"""Reading npy files that may be damaged, hostile or of something else."""

from pathlib import Path

import numpy as np


def read_array(path: str | Path, mmap_mode: str | None = None) -> np.ndarray:
    """The numbers in an npy file, without executing anything. Raises ValueError, naming the file, for all else."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no {path}")
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it holds {array.dtype}, no numbers")
    except Exception as error:  # damaged bytes make numpy fail in every way there is
        # numpy would advise to run what is in the file
        reason = "it holds Python objects, no numbers" if "pickle" in str(error) else error
        raise ValueError(f"{path} is no readable npy file: {reason}") from error
    return array
