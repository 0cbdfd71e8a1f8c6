"""What the tests share: the same examples every time, Ctrl-C at every line, PyTorch on one thread, no Numba."""

import importlib.util
import os
import sys
import warnings

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")  # figures are drawn to files

WITH_NUMBA = importlib.util.find_spec("numba") is not None

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")


@pytest.fixture
def interrupted_at_every_line():
    """Results of a call that Ctrl-C hits at any line of some files: (result, warnings) of every call that returns."""

    def results(call, files, most):
        line = 0
        while True:
            executed = 0

            def trace(frame, event, argument):
                nonlocal executed
                if frame.f_code.co_filename not in files:
                    return None
                if event == "line":
                    executed += 1
                    if executed == line:  # noqa: B023
                        raise KeyboardInterrupt
                return trace

            line += 1
            before = sys.gettrace()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                sys.settrace(trace)
                try:
                    found = call()
                except KeyboardInterrupt:
                    continue  # before anything was finished, or while the result was made
                finally:
                    sys.settrace(before)
            if executed < line:
                break  # all moments are tried
            yield found, caught
        assert line < most

    return results


@pytest.fixture
def one_thread():
    """PyTorch on one thread: the same bits, and no quarrel about cores."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def study():
    """The module of studies, as other processes import it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield importlib.import_module("ensemble_studies")


def pytest_configure(config):
    """Without Numba one warning of each process says so, in whichever test it falls."""
    if not WITH_NUMBA:
        config.addinivalue_line("filterwarnings", "ignore:.*Numba is missing:dynsys.FallbackWarning")


def pytest_runtest_setup(item):
    """Without Numba all tests run but those of compiled kernels: `numba` marks, and the parameter "numba"."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if not WITH_NUMBA and (
        item.get_closest_marker("numba") or any(isinstance(value, str) and value == "numba" for value in parameters)
    ):
        pytest.skip("needs Numba")


def pytest_collection_modifyitems(items):
    """Examples of modules that import PyTorch are marked as the tests are that need it."""
    for item in items:
        parts = item.path.relative_to(item.config.rootpath).parts
        if parts[:2] == ("dynsys", "training") or (parts[0] == "dynsys" and parts[-1].startswith("torch")):
            item.add_marker("torch")
