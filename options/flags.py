"""Flags from a dataclass: a field's name, type, default and help are said once, where the options are declared."""

import argparse
import dataclasses
import difflib
import sys
import types
import typing
from typing import Any, NoReturn, TypeVar

from utils.errors import fail

Options = TypeVar("Options")


def flag(default: Any, help: str, choices: tuple | None = None, least: float | None = None) -> Any:
    """A field of an options class: its default, what --help says, and which values are allowed. A tuple takes many."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "least": least})


def repeated(help: str) -> Any:
    """A field by which a published command line repeats what a checkpoint knows: --help shows it last."""
    field = flag(None, help)
    return dataclasses.field(default=None, metadata=dict(field.metadata) | {"repeated": True})


def word(choices: tuple[str, ...], help: str) -> Any:
    """A field that is given as a plain word, without a flag's name, and has to be: one of `choices`."""
    return dataclasses.field(default="", metadata={"help": help, "choices": choices, "least": None, "word": True})


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse would print every flag before it."""

    def error(self, message: str) -> NoReturn:
        _, _, given = message.partition("unrecognized arguments: ")
        meant = difflib.get_close_matches(given.split(" ")[0], self._option_string_actions, 1, 0.7)
        module = sys.modules["__main__"].__spec__  # of python -m
        program = f"python -m {module.name}" if module else self.prog
        fail(f"{message} (did you mean {meant[0]}?)" if meant else f"{message} (see {program} --help)")


def parse(cls: type[Options], description: str | None, argv: list[str] | None = None) -> Options:
    """The options class filled from the command line: field `warm_up_iter: int` is `--warm-up-iter N`.

    A field of type bool (or bool | None, for neither) becomes a switch, a tuple takes any number of values. Wrong flags
    end with status 2.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    repeats = parser.add_argument_group("flags of the published command lines that checkpoints make unnecessary")
    for field in sorted(fields, key=lambda field: "repeated" in field.metadata):
        group = repeats if "repeated" in field.metadata else parser
        kind = hints[field.name]
        names = {"dest": field.name, "default": field.default, "help": field.metadata["help"].replace("%", "%%")}
        option = "--" + field.name.replace("_", "-")
        if isinstance(kind, types.UnionType):  # "int | None"
            kind = next(part for part in typing.get_args(kind) if part is not types.NoneType)
        if field.metadata.get("word"):
            parser.add_argument(field.name, choices=field.metadata["choices"], help=names["help"])
            continue
        if kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, **names)
            continue
        many = typing.get_origin(kind) is tuple
        element = typing.get_args(kind)[0] if many else kind
        if field.default not in (None, (), ""):
            shown = " ".join(map(str, field.default)) if many else field.default
            names["help"] += f" (default {shown})"
        if many:
            names |= {"nargs": "+", "action": "extend", "default": None}  # None: what is given replaces the default
        choices = field.metadata["choices"]
        metavar = None if choices else element.__name__.upper()
        group.add_argument(option, type=element, choices=choices, metavar=metavar, **names)
    values = vars(parser.parse_args(argv))
    for field in fields:
        value, least = values[field.name], field.metadata["least"]
        if least is not None and value is not None and not value >= least:
            parser.error(f"--{field.name.replace('_', '-')} must be {least} or more, not {value}")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return cls(**{field.name: field.default if given[field.name] is None else given[field.name] for field in fields})


def given_in_order(names: tuple[str, ...], argv: list[str] | None = None) -> list[tuple[str, list[str]]]:
    """The values of some flags of many values, in the order of the command line: [("text", ["a", "b"]), ...].

    For command lines that `parse` has taken already: it keeps no order between flags.
    """
    found = []

    class Note(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
            found.append((self.dest, values))

    parser = argparse.ArgumentParser(add_help=False)
    for name in names:
        parser.add_argument("--" + name.replace("_", "-"), dest=name, nargs="+", action=Note)
    parser.parse_known_args(argv)
    return found
