"""All benchmarks of speed: prints their tables and appends them to benchmarks/results.

    python -m benchmarks.run
    python -m benchmarks.run --only sampling_speed

Each is a module of this folder with a function `tables() -> list[Table]`; to add one, name it below.
"""

from dataclasses import dataclass
from importlib import import_module

from benchmarks.report import keep, machine
from options.flags import flag, parse
from utils.errors import fail

BENCHMARKS = ("sampling_speed", "training_speed")


@dataclass(frozen=True)
class RunOptions:
    only: str | None = flag(None, "one of them, not all", choices=BENCHMARKS)
    keep: bool = flag(True, "append the tables to benchmarks/results")


def main() -> None:
    options = parse(RunOptions, __doc__)
    print(f"{machine()}\n", flush=True)
    for name in (options.only,) if options.only else BENCHMARKS:
        found = import_module(f"benchmarks.{name}").tables()
        print("\n".join(table.markdown() for table in found), flush=True)
        if options.keep:
            try:
                print(f"appended to {keep(name, found)}")
            except OSError as error:
                fail(f"cannot write to benchmarks/results: {error}")


if __name__ == "__main__":
    main()
