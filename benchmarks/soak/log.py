"""The log of a soak test, a line of JSON for every event, and its summary."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import numpy as np

BATCHES = 10  # of samples of the resident, after the first fifth
FEW = 10  # errors that are printed


@attrs.frozen(eq=False)
class Log:
    """A file to which lines are appended."""

    path: Path
    lock: Any = attrs.field(factory=threading.Lock)

    def __call__(self, event: str, **details: Any) -> None:
        """Append a line."""
        line = json.dumps({"time": round(time.time(), 3), "event": event} | details)
        with self.lock, self.path.open("a") as file:
            file.write(line + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, but for a last one that was cut short."""
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def slope(seconds: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least-squares slope per hour and its standard error, from means of batches after the first fifth."""
    keep = len(values) // 5
    t, y = (np.array([part.mean() for part in np.array_split(x[keep:], BATCHES)]) for x in (seconds / 3600.0, values))
    t = t - t.mean()
    found = float(t @ y / (t @ t))
    rest = y - y.mean() - found * t
    return found, float(np.sqrt(rest @ rest / (BATCHES - 2) / (t @ t)))


def summary(path: Path) -> dict[str, Any]:
    """What a log says, in numbers."""
    lines = read(path)
    by = {name: [line for line in lines if line["event"] == name] for name in {line["event"] for line in lines}}
    residents: dict[int, list[dict[str, Any]]] = {}
    for line in by.get("resident", []):
        residents.setdefault(line["pid"], []).append(line)
    compared, checked = by.get("compared", []), by.get("checked", [])
    return {
        "hours": sum(part[-1]["time"] - part[0]["time"] for part in _parts(lines)) / 3600.0,
        "events": dict(Counter(line["what"] for line in by.get("disturbed", [])).most_common()),
        "ends": dict(Counter(line["end"] for line in by.get("disturbed", [])).most_common()),
        "damages": dict(
            Counter(f"{line['of']}: {kind}" for line in by.get("damaged", []) for kind in line["files"].values())
        ),
        "ensembles": len({line["seed"] for line in compared}),
        "comparisons": len(compared) + len(checked),
        "files compared": sum(line["files"] for line in compared),
        "finished blocks compared": sum(line["blocks"] for line in checked),
        "differences": [line for line in compared + checked if line["differ"]],
        "errors not ours": by.get("error", []),
        "residents": [_size(part) for part in residents.values()],
    }


def _parts(lines: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Lines of one start each."""
    parts: list[list[dict[str, Any]]] = []
    for line in lines:
        if line["event"] == "start" or not parts:
            parts.append([])
        parts[-1].append(line)
    return parts


def _size(lines: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"ensembles": lines[-1]["done"], "other bits": sum(not line["same"] for line in lines)}
    times = np.array([line["time"] for line in lines])
    for name, unit in (("rss", 2**20), ("descriptors", 1), ("threads", 1), ("tasks", 1)):
        values = np.array([line[name] / unit for line in lines])
        keep = len(values) // 5
        found[name] = {
            "first": values[0],
            "after the first fifth": values[keep],
            "last": values[-1],
            "most": values.max(),
        }
        if len(values) >= 5 * BATCHES:
            found[name]["slope per hour"], found[name]["its error"] = slope(times, values)
    return found


def show(path: Path) -> str:
    """The summary as text."""
    found = summary(path)
    lines = [f"{found['hours']:.2f} hours"]
    for name in ("events", "ends", "damages"):
        lines.append(f"{name}: {sum(found[name].values())}")
        lines += [f"  {count:5d}  {kind}" for kind, count in found[name].items()]
    for name in ("ensembles", "comparisons", "files compared", "finished blocks compared"):
        lines.append(f"{name}: {found[name]}")
    for name in ("differences", "errors not ours"):
        lines.append(f"{name}: {len(found[name])}")
        lines += [f"  {json.dumps(line):.600}" for line in found[name][:FEW]]
    for one in found["residents"]:
        lines.append(f"one process that ran {one['ensembles']} ensembles, {one['other bits']} of them with other bits:")
        for name, unit in (("rss", " MiB, without files"), ("descriptors", ""), ("threads", ""), ("tasks", "")):
            text = ", ".join(f"{key} {value:.4g}" for key, value in one[name].items())
            lines.append(f"  {name}{unit and ' in' + unit}: {text}")
    return "\n".join(lines)
