"""Whether what goes on with a run is what the run was of, and in which words it is not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from dynsys.systems.identity.code import CODE, NAME, PYTHON
from dynsys.systems.identity.told import (
    CLASS,
    COMPONENTS,
    DIGEST,
    EQUATIONS,
    KIND,
    MEMBERS,
    OPTIMISER,
    REST,
    SHAPE,
    UNSEEN,
    Json,
    read,
    unreadable,
)

MOST = 3  # differences that are named

Difference = tuple[str, Json, Json]  # the path, what was there, what is here; ABSENT for nothing
ABSENT: Any = object()


def differing(before: str, now: str) -> tuple[str, str]:
    """What a run was of and what another system is instead, in words that name what differs; empty if nothing does.

    Both are told by `dynsys.systems.identity.told.told`. Where nothing is known of one, nothing differs.

    Examples
    --------
    >>> from dynsys.models.classics import Logistic
    >>> from dynsys.systems.identity.told import told
    >>> differing(told(Logistic(r=3.7).identity), told(Logistic(r=3.9).identity))
    ('r = 3.7', 'r = 3.9')
    """
    if not before or not now or before == now:
        return "", ""
    try:
        found = list(_of_systems(read(before), read(now)))
        pairs = [_in_words(*difference) for difference in found[:MOST]]
    except (AttributeError, KeyError, RecursionError, TypeError):  # of a file, into which something else was written
        raise unreadable(before) from None
    more = [f"{len(found) - MOST} more"] if len(found) > MOST else []
    there, here = (_listed([*words, *more]) for words in zip(*pairs, strict=True)) if pairs else ("", "")
    return there, here


def _of_systems(before: dict[str, Json], now: dict[str, Json]) -> Iterator[Difference]:
    """Differences of two systems, those of members with parameters of their own first."""
    own = [told.get(MEMBERS, {}) for told in (before, now)]
    names = {**own[0], **own[1]} if all(isinstance(part, dict) for part in own) else {}
    if own[0] != own[1]:
        if own[0] and own[1]:
            yield MEMBERS, own[0], own[1]
        else:  # parameters that one has for all members
            common = now if own[0] else before
            alone = {name: _found(common, name) for name in names}
            yield (MEMBERS, own[0], alone) if own[0] else (MEMBERS, alone, own[1])
    for path, there, here in _parts(_without(before, {MEMBERS}), _without(now, {MEMBERS}), ""):
        if path.rpartition(".")[-1] not in names:
            yield path, there, here


def _found(told: Json, name: str) -> Json:
    """A part of that name, wherever it is."""
    if isinstance(told, dict):
        if name in told:
            return told[name]
        return next((found for part in told.values() if (found := _found(part, name)) is not ABSENT), ABSENT)
    return ABSENT


def _parts(before: dict[str, Json], now: dict[str, Json], path: str) -> Iterator[Difference]:
    """Differences of two mappings by name, or of two objects by their fields."""
    kinds = before.get(CLASS, ABSENT), now.get(CLASS, ABSENT)
    if kinds == (ABSENT, ABSENT):
        yield from _by_name(before, now, path, strict=True)
    elif _alike(*kinds):
        yield from _by_name(_held(kinds[0]), _held(kinds[1]), path)
        # a field may have come later, and other versions may write the equations of a class otherwise
        skipped = {CLASS} if CODE in kinds[0] else {CLASS, EQUATIONS, COMPONENTS}
        yield from _by_name(_without(before, skipped), _without(now, skipped), path)
    elif all(told.get(name) for told in (before, now) for name in (EQUATIONS, KIND)) and all(
        before.get(name) == now.get(name) for name in (EQUATIONS, COMPONENTS, KIND)
    ):  # the same equations, whatever they are called
        yield from _by_name(_without(before, {CLASS}), _without(now, {CLASS}), path, strict=True)
    else:
        yield path, *kinds


def _without(told: dict[str, Json], names: Collection[str]) -> dict[str, Json]:
    return {name: part for name, part in told.items() if name not in names}


def _by_name(before: dict[str, Json], now: dict[str, Json], path: str, strict: bool = False) -> Iterator[Difference]:
    for name in dict.fromkeys([*before, *now]):
        inner = f"{path}.{name}" if path else name
        if name in before and name in now:
            yield from _differences(before[name], now[name], inner)
        elif name == REST or (strict and name != OPTIMISER):
            yield inner, before.get(name, ABSENT), now.get(name, ABSENT)


def _held(kind: dict[str, Json]) -> dict[str, Json]:
    """What a class or function holds and reaches, without its name and its code."""
    return _without(kind, {NAME, CODE, PYTHON})


def _alike(before: Json, now: Json) -> bool:
    """Whether two functions or classes are the same: by their code where it can be compared, else by their names."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return bool(before == now)
    if CODE in before and CODE in now and before.get(PYTHON) == now.get(PYTHON):
        return bool(before[CODE] == now[CODE])
    return (CODE in before) == (CODE in now) and before.get(NAME) == now.get(NAME)


def _differences(before: Json, now: Json, path: str) -> Iterator[Difference]:
    if before == now:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        if UNSEEN in before or UNSEEN in now:
            return
        if NAME in before and NAME in now:
            if not _alike(before, now):
                yield path, before, now
                return
            yield from _by_name(_held(before), _held(now), path)  # what one reaches may be unseen in the other
            return
        if {DIGEST, NAME} & {*before, *now}:
            yield path, before, now
            return
        yield from _parts(before, now, path)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        found = [d for i, (there, here) in pairs for d in _differences(there, here, f"{path}[{i}]")]
        numbers = all(not isinstance(part, dict) for _, *parts in found for part in parts)
        yield from [(path, before, now)] if len(found) > 1 and numbers else found
    elif not any(isinstance(told, dict) and UNSEEN in told for told in (before, now)):
        yield path, before, now


def _in_words(path: str, before: Json, now: Json) -> tuple[str, str]:
    """What was there and what is here, in words that differ."""
    if path == MEMBERS:
        return _of_members(before, now), _of_members(now, before)
    path = _printable(path.replace("its ", ""))
    there, here = _said(path, before), _said(path, now)
    return there, here if here != there else f"another {here.removeprefix('the ')}"


def _said(path: str, told: Json) -> str:
    match told:
        case _ if told is ABSENT:
            return f"no {path}" if path else "another system of equations"
        case {"its name": name}:
            return f"{path or 'the system'} {_printable(str(name).rpartition('.')[-1])}"
        case {"its class": {"its name": name}}:
            return f"{path or 'the system'} {_printable(str(name).rpartition('.')[-1])}"
        case {"its shape": shape, "its digest": _}:
            return f"{path} of shape {_printable(str(shape))}"
        case dict():
            return path or "the system"
        case _:
            return f"{path} = {_printable(str(told))}"


def _of_members(own: Json, other: Json) -> str:
    """Parameters that members have of their own, or all in common."""
    if not isinstance(own, dict) or not isinstance(other, dict):
        return "the members' own parameters"
    if not any(isinstance(values, list | dict) for values in own.values()):
        listed = [f"{_printable(name)} = {_printable(str(v))}" for name, v in own.items() if v is not ABSENT]
        return f"{_listed(listed) or 'the same parameters'} for all members"
    first = next((name for name in own if own[name] != other.get(name)), "")
    where = ""
    there, here = own.get(first), other.get(first)
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        m = next(m for m in range(len(there)) if there[m] != here[m])
        where = f" ({_printable(first)} = {_printable(str(there[m]))} for member {m})"
    elif isinstance(here, dict):
        where = " (of other values)"
    some = next(values for values in own.values() if isinstance(values, list | dict))
    count = len(some) if isinstance(some, list) else _printable(str(some.get(SHAPE, ["the"])[0]))
    return f"its own {' and '.join(map(_printable, sorted(own)))} for each of {count} members{where}"


def _printable(text: str) -> str:
    """Some of a text that may come from a file: no character of it commands a terminal."""
    return "".join(c if c.isprintable() else "?" for c in f"{text:.80}")


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
