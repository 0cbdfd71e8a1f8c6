"""Target: any bytes as a table give finite numbers, or an error of ours; well-formed ones what was written."""

import warnings

import numpy as np

from dynsys import InvalidInputError
from dynsys.models.weight_dynamics import read_table
from fuzz.damages import bytes_of

ENTRIES = (
    "",
    " ",
    "nan",
    "inf",
    "1e309",
    "-1e308",
    "5e-324",
    "1_000",
    "0x10",
    '"1"',
    '"',
    "\0",
    "1.234,5",
    "1,5",
    "1.5",
    "٣",
    "=1+1",
)
NAMES = ("y", "x", "y ", '"y"', "\ufeffy", "Y", "", "a,b", "\x1b[31m", "\u202e", "y\0", "x" * 3000, "1.5", "y;x")


class Tables:
    """Tables of numbers, as they are written and damaged."""

    def __init__(self, folder):
        self.folder = folder

    def target(self, draw):
        numbers = np.array(
            [
                [draw.choice((draw.gauss(0, 1), draw.randrange(-99, 99), 1e-9 * draw.random())) for _ in range(3)]
                for _ in range(draw.randrange(2, 7))
            ]
        )
        numbers += np.arange(len(numbers))[:, None] * 1000  # no column is constant
        separator, end = draw.choice(",;\t|"), draw.choice(("\n", "\r\n"))
        names, rows = ["a", "y", "b c"], [[repr(float(v)) for v in row] for row in numbers]
        if separator != "," and draw.randrange(2):
            rows = [[v.replace(".", ",") for v in row] for row in rows]
        whole = bool(draw.randrange(3))
        if not whole:
            for _ in range(draw.randrange(3)):
                draw.choice(rows)[draw.randrange(3)] = draw.choice(ENTRIES)
            names[draw.randrange(3)] = draw.choice(NAMES)
        content = end.join(separator.join(row) for row in (names, *rows)).encode(draw.choice(("utf-8", "utf-8-sig")))
        if not whole and draw.randrange(2):
            content = bytes_of(draw, content.decode().encode(draw.choice(("utf-8", "utf-16", "latin-1")), "replace"))
        path = self.folder / "table.csv"
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                X, y, found = read_table(path, "y")
        except InvalidInputError:
            assert not whole, content
            return "refused"
        assert X.shape == (len(y), len(found))
        assert np.isfinite(X).all()
        assert np.isfinite(y).all()
        np.testing.assert_allclose(X.mean(axis=0), 0.0, atol=1e-7)
        np.testing.assert_allclose(X.std(axis=0), 1.0, atol=1e-7)
        if whole:
            np.testing.assert_array_equal(y, numbers[:, 1])
            assert found == ["a", "b c"]
        return "whole" if whole else "damaged"
