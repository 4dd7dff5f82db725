"""What the tests of all three distributions share."""

import gc
import importlib.util
import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# the same examples in every run; `make explore` looks for new ones, where a slow test takes its share of the number
settings.register_profile("test", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", derandomize=False, database=None, deadline=None, max_examples=500)
settings.load_profile("test")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads of torch would wait for each other, and for tests

# a module that needs an extra is collected for its examples where the extra is installed
collect_ignore = [] if importlib.util.find_spec("ray") else ["earthinstruct/running/engines/ray.py"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Pause garbage collection while tests are collected, and exclude what was imported from it afterwards: faster."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Real images, ground truth, counts and proposals, in the folder that EARTHINSTRUCT_REFERENCE names."""
    folder = os.environ.get("EARTHINSTRUCT_REFERENCE")
    if not folder:
        pytest.skip("EARTHINSTRUCT_REFERENCE names no folder with reference data")
    return Path(folder)


@pytest.fixture
def no_server() -> Iterator[str]:
    """The address of a port on which nothing listens: it is taken, so that nothing else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Chromium, without a window."""
    from tests.browser import started

    driver = started(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
