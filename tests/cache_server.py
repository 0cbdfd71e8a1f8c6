"""How tests talk to `cache_processes.py`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Server:
    """A process that forks others."""

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory()
        command = [sys.executable, "-W", "error", str(Path(__file__).with_name("cache_processes.py"))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DYNSYS_CACHE": self.home.name}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.home.cleanup()

    def start(self, request):
        """Start a process; its number."""
        return self._ask(request)

    def wait(self, number):
        """How it ended, and what it found."""
        return self._ask(number)

    def run(self, request):
        return self.wait(self.start(request))

    def _ask(self, what):
        print(json.dumps(what), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def until(self, condition, seconds=60):
        """Wait for something."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)
