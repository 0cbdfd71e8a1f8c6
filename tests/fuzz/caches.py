"""Target: a damaged cache. What comes out is what was put in for exactly that, or is made anew."""

import os
import shutil
import warnings
from unittest import mock

from dynsys import FallbackWarning
from dynsys.storage import cache
from dynsys.storage.cache import kept
from fuzz.damages import damage

ENTRIES = [(kind, f"source {i}", bytes([i]) * (50 * i)) for i in range(4) for kind in ("kernel", "equations")]
LARGE = 2**20


class Caches:
    """A cache, one of another key, and what may be done to copies of the first."""

    def __init__(self, folder):
        self.folder = folder
        self.whole, self.other, self.outside = (folder / name for name in ("whole", "other", "outside"))
        self.outside.mkdir()
        (self.outside / "kept").write_text("kept")
        for path in (self.whole, self.other):
            with self.process(path):
                for entry in ENTRIES:
                    self.once(*entry)

    def process(self, path):
        """A process whose cache is there, with its key."""
        for forgotten in (kept, cache._say_once):
            forgotten.cache_clear()
        return mock.patch.dict(os.environ, {"DYNSYS_CACHE": "", "XDG_CACHE_HOME": str(path), "HOME": str(path)})

    @staticmethod
    def once(kind, source, content):
        made = []

        def make():
            made.append(True)
            return content

        assert kept().once(kind, source, make) == content
        return not made

    def target(self, draw):
        path = self.folder / "damaged"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.whole, path)
        done = [
            damage(draw, path / "dynsys", self.other / "dynsys", self.outside) for _ in range(draw.choice((1, 2, 5)))
        ]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", FallbackWarning)
                with self.process(path):
                    found = sum(self.once(*entry) for entry in ENTRIES)
                    kept().damaged(), kept().remains()
                with self.process(path):
                    again = sum(self.once(*entry) for entry in ENTRIES)
            assert found <= again
            assert [file.name for file in self.outside.iterdir()] == ["kept"]
            assert (self.outside / "kept").read_text() == "kept"
        except Exception as problem:
            problem.add_note("; ".join(done))
            raise
        return f"{found // 2 * 2} found"
