"""Users of whom only a number is known, or whose home folder is closed to them, as in a container."""

import errno
import os
import pwd
from pathlib import Path
from unittest.mock import Mock

import pytest

from blitz.cifar10 import cache
from blitz.cifar10.data import find
from blitz.errors import DataError


@pytest.fixture
def no_home(tmp_path, monkeypatch):
    """Be a user of whom only a number is known, as in a container; by then pytest has asked for the name."""
    for name in ("BLITZ_CACHE", "BLITZ_DATA", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for ask in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, ask, Mock(side_effect=KeyError))


@pytest.mark.parametrize(("name", "folder"), [("BLITZ_DATA", "~/.cache"), ("BLITZ_CACHE", "~nobody-here/a")])
@pytest.mark.usefixtures("no_home")
def test_a_cache_without_a_home_folder_is_one_sentence(monkeypatch, name, folder):
    """The folder and the way out are named."""
    monkeypatch.setenv(name, folder)
    sentence = f"^there is no home folder for {folder}: set HOME, or BLITZ_CACHE to a folder without ~$"

    with pytest.raises(DataError, match=sentence):
        cache.cache_folder()


@pytest.mark.usefixtures("no_home")
def test_without_a_home_folder_the_data_are_found_as_ever(monkeypatch, tmp_path):
    """Nobody keeps a copy there, so the stand-in is the default; what is named is taken."""
    for part in ("train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)

    assert find() == ("stand-in", None)
    assert find(tmp_path) == ("image folder", tmp_path)
    with pytest.raises(DataError, match="there is no home folder for ~/images"):
        find("~/images")


@pytest.mark.parametrize("named", [None, "folder"])
def test_a_folder_that_nobody_may_look_into_is_no_traceback(monkeypatch, tmp_path, named):
    """A cache in the home folder of somebody else holds nothing; a folder that is named is one sentence."""
    refusal = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.delenv("BLITZ_DATA", raising=False)
    monkeypatch.setattr(
        os.path, "isdir", lambda path: path == tmp_path
    )  # as it answers where it may not look
    monkeypatch.setattr(Path, "is_dir", Mock(side_effect=refusal))
    for look in ("listdir", "scandir"):
        monkeypatch.setattr(os, look, Mock(side_effect=refusal))

    if named is None:
        assert find() == ("stand-in", None)
    else:
        with pytest.raises(DataError, match=f"^cannot read {tmp_path}: Permission denied$"):
            find(tmp_path)
