"""One library of the compiled kernels after the other."""

import pytest

from garage.kernels import library


def forget():
    """What was found out about the library, which the environment may have changed."""
    for known in (library.level, library.held, library.freeing):
        known.cache_clear()


@pytest.fixture
def anew():
    """The library is looked for again, now and after the test."""
    forget()
    yield forget
    forget()


@pytest.fixture(params=library.levels(), scope="module")
def level(request):
    """Each level that this processor can run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.LEVEL, request.param)
        forget()
        yield request.param
    forget()
