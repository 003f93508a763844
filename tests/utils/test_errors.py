"""The end of a run that a person can mend."""

import pytest

from utils.errors import fail


def test_fail_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        fail("the file\n  a.npy   is broken")
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err == "error: the file a.npy is broken\n"
