"""What was found for the flows of the database: the file of results, its table, and what all of them together say."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

FILE = Path(__file__).with_name("flows_database.csv")
CLEAR, SAME = 4.0, 2.0  # errors beyond which exponents differ, and within which they agree


@attrs.frozen
class Spectrum:
    """A run: first exponent, standard error, step error (1/time), regime, warnings by name; or why there is none."""

    exponent: float = attrs.field(default=np.nan, converter=float)
    error: float = attrs.field(default=np.nan, converter=float)
    step: float = attrs.field(default=np.nan, converter=float)
    regime: str = ""
    warnings: str = ""

    @property
    def whole(self) -> float:
        """Standard error and step error together."""
        return self.error + (0.0 if np.isnan(self.step) else abs(self.step))

    @property
    def warned(self) -> bool:
        """Whether something was said."""
        return self.warnings != ""


@attrs.frozen
class Row:
    """A flow.

    Attributes
    ----------
    name, dimension
    skipped : str
        Why nothing was computed; or empty.
    traced : str
        Why the function could not be traced; empty if it was.
    apart : float
        Largest difference of its equations, written as text, from the function, as a share of the velocity.
    coarse, fine : Spectrum
        At period/150, and at an eighth of that.
    others : str
        Of each exponent that a warning names: by how much it differs from that at dt/8, and the error of that.
    called, wrong : int
        Vectors called reliable, and those of them that differ by 1e-3 from a run with longer transients; -1: none were
        looked for.
    worst : float
        The largest difference of a reliable vector, a sine.
    vectors : str
        Warnings of the covariant vectors, by name.
    """

    name: str
    dimension: int = attrs.field(default=0, converter=int)
    skipped: str = ""
    traced: str = ""
    apart: float = attrs.field(default=np.nan, converter=float)
    coarse: Spectrum = Spectrum()
    fine: Spectrum = Spectrum()
    others: str = ""
    called: int = attrs.field(default=-1, converter=int)
    wrong: int = attrs.field(default=-1, converter=int)
    worst: float = attrs.field(default=np.nan, converter=float)
    vectors: str = ""

    @property
    def difference(self) -> float:
        """Of the first exponents of the two runs."""
        return abs(self.coarse.exponent - self.fine.exponent)

    @property
    def silent(self) -> bool:
        """Whether they differ by more than four errors, step errors included, and nothing is said."""
        errors = np.hypot(self.coarse.whole, self.fine.whole)
        return bool(self.difference > CLEAR * errors) and not self.coarse.warned

    @property
    def alarmed(self) -> bool:
        """Whether something is said although they agree within two standard errors."""
        return bool(self.difference < SAME * np.hypot(self.coarse.error, self.fine.error)) and self.coarse.warned


def _flat(row: Row) -> dict[str, str]:
    """The cells of a row, numbers to four digits."""
    cells: dict[str, str] = {}
    for name, value in attrs.asdict(row).items():
        parts = {f"{name}_{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        for key, part in parts.items():
            cells[key] = f"{part:.4g}" if isinstance(part, float) else str(part)
    return cells


def written(rows: Sequence[Row]) -> str:
    """The file of results."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(_flat(rows[0])), lineterminator="\n")
    table.writeheader()
    table.writerows(map(_flat, rows))
    return text.getvalue()


def read(text: str) -> list[Row]:
    """The rows of such a file."""
    rows = []
    for cells in csv.DictReader(io.StringIO(text)):
        runs = {
            run: Spectrum(**{field.name: cells.pop(f"{run}_{field.name}") for field in attrs.fields(Spectrum)})
            for run in ("coarse", "fine")
        }
        rows.append(Row(**cells, **runs))
    return rows


def report(rows: Sequence[Row]) -> str:
    """The summary and the table, as Markdown."""
    header = ["flow", "dim", "first exponent", "step error", "at dt/8", "motion", "warnings", "vectors"]
    lines = [header, ["---"] * len(header), *(_cells(row) for row in rows if not row.skipped)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{summary(rows)}\n\n{body}\n"


def _cells(row: Row) -> list[str]:
    coarse, fine = row.coarse, row.fine
    motion = coarse.regime if coarse.regime == fine.regime else f"{coarse.regime}; at dt/8 {fine.regime}"
    vectors = "" if row.called < 0 else f"{row.called} reliable" + f", {row.wrong} wrong" * (row.wrong > 0)
    return [
        row.name + "*" * bool(row.traced),
        str(row.dimension),
        _measured(coarse),
        "" if np.isnan(coarse.step) else f"{coarse.step:.1g}",
        _measured(fine),
        motion.replace("quasi-periodic on a ", "").replace("hyperchaotic", "hyper"),
        coarse.warnings + (f" ({row.others})" if row.others else ""),
        vectors,
    ]


def _measured(run: Spectrum) -> str:
    """A number with its standard error."""
    if np.isnan(run.exponent):
        return ""
    digits = int(np.clip(1 - np.floor(np.log10(max(run.error, 1e-12))), 0, 7))
    return f"{run.exponent:z.{digits}f} ± {run.error:.{digits}f}"


def summary(rows: Sequence[Row]) -> str:
    """What all rows together say."""
    skipped = [row.name for row in rows if row.skipped]
    rows = [row for row in rows if not row.skipped]
    both = [row for row in rows if np.isfinite(row.difference)]
    untraced = [row.name for row in rows if row.traced]
    apart = max((row.apart for row in rows if np.isfinite(row.apart)), default=0.0)
    silent, alarmed = ([row.name for row in both if of(row)] for of in (lambda r: r.silent, lambda r: r.alarmed))
    stopped = [row.name for row in rows if not np.isfinite(row.difference)]
    called = sum(row.called for row in rows if row.called > 0)
    wrong = sum(row.wrong for row in rows if row.wrong > 0)
    lines = [
        f"{len(rows)} flows; {len(skipped)} with a delay are skipped{_named(skipped)}",
        f"functions that are traced: {len(rows) - len(untraced)}{_named(untraced)}; equations written as text differ "
        f"from the function by {apart:.1g} of the velocity at most",
        f"flows of which both runs have a spectrum: {len(both)}; a run stops, and says so{_named(stopped)}",
        f"first exponents more than {CLEAR:g} errors from that at dt/8 without a warning: {len(silent)}"
        + _named(silent),
        f"warnings where both agree within {SAME:g} standard errors: {len(alarmed)} "
        f"({len(alarmed) / max(1, len(both)):.1%}){_named(alarmed)}",
        f"vectors called reliable: {called}; of these wrong by more than 0.001: {wrong} ({wrong / max(1, called):.1%})"
        + _named([row.name for row in rows if row.wrong > 0]),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _named(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""


if __name__ == "__main__":
    print(report(read(FILE.read_text())))
