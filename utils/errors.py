"""How a script ends when a person made a mistake, or the machine has no room left."""

import errno
import functools
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def fail(message: str) -> NoReturn:
    """Leave with one clear line on stderr and status 2: for errors that a person can mend."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def stoppable(main: Callable[[], None]) -> Callable[[], None]:
    """A script's `main` that Ctrl-C ends in one line, with the status that a shell gives it."""

    @functools.wraps(main)
    def stopped() -> None:
        try:
            main()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(130)

    return stopped


def told_when_full(main: Callable[[], None]) -> Callable[[], None]:
    """A script's `main` that fails in one line where the disk is full, however deep that is met; files stay whole."""

    @functools.wraps(main)
    def told() -> None:
        usual = after = threading.excepthook
        # threads that write beside it, as TensorBoard's does, meet the same: once is enough
        threading.excepthook = lambda said: None if _no_room(said.exc_value) else usual(said)
        try:
            main()
        except OSError as error:
            if not _no_room(error):
                raise
            after = threading.excepthook  # for what they have still to say at the end
            where = f" {error.filename}" if error.filename else ""
            fail(f"cannot write{where}: {error.strerror}; what was there before is whole")
        finally:
            threading.excepthook = after

    return told


def _no_room(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in NO_ROOM
