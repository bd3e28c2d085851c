"""A trained run to forge, made once."""

import pytest

from faults.forgeries import Copy, train


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A run of three epochs, all kept, that nobody changes."""
    path = tmp_path_factory.mktemp("original") / "run"
    train(path)
    return path


@pytest.fixture(scope="module")
def copy(original, tmp_path_factory):
    """A copy to forge; whoever does puts it back first."""
    return Copy(original, tmp_path_factory.mktemp("copy") / "run")
