"""How a script ends when a person made a mistake."""

import sys
from typing import NoReturn


def fail(message: str) -> NoReturn:
    """Leave with one clear line on stderr and status 2: for errors that a person can mend."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
