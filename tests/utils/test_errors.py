"""Mistakes and full disks end a script with status 2 and one line."""

import errno

import pytest

from utils.errors import fail, stoppable, told_when_full


def test_one_line_on_stderr(capsys):
    with pytest.raises(SystemExit) as caught:
        fail("there is no\n  file")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: there is no file\n")


def test_ctrl_c_is_one_line(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        stoppable(main)()
    assert caught.value.code == 130 and capsys.readouterr() == ("", "stopped\n")


def test_a_full_disk_is_told(capsys):
    def main():
        raise OSError(errno.ENOSPC, "no space left on the disk", "/a/net_last.pth")

    with pytest.raises(SystemExit) as caught:
        told_when_full(main)()
    assert caught.value.code == 2
    said = "error: cannot write /a/net_last.pth: no space left on the disk; what was there before is whole\n"
    assert capsys.readouterr() == ("", said)


def test_other_errors_are_not():
    for error in (FileNotFoundError(errno.ENOENT, "x"), ValueError("x"), OSError("x")):

        def main(error=error):
            raise error

        with pytest.raises(type(error)):
            told_when_full(main)()
