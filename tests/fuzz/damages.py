"""Damages to files and folders, drawn at random: by accident, and by an adversary who makes checksums right again."""

import json
import os
import shutil

from dynsys.storage.header import sealed

HOSTILE = (
    10**18,
    10**30,
    -1,
    0,
    1,
    2**63,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    True,
    False,
    None,
    "",
    "../../escape",
    "/tmp/escape",
    "member",
    "status",
    "x",
    "\x1b[31m",
    "\ud800",
    "a" * 10_000,
    [],
    {},
    [[]],
    [1] * 1000,
    {"a": {"b": [None]}},
    "object",
    "O",
    "float64",
    "int8",
    "str",
    "NaN",
    ["member"],
    ["member", "member"],
    "zarr.json",
    "..",
    "dynsys ensemble, format 1",
    "dynsys ensemble, format 2",
    json.loads('{"a":' * 200 + "1" + "}" * 200),
    json.loads("[" * 900 + "]" * 900),
)


def files_of(path):
    plain = (file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return sorted(file for file in plain if file.stat().st_size < 2**24)  # others have holes


def edited(draw, content):
    """JSON with one of its parts replaced, removed, or doubled; a digest that it had is right again."""
    parts = [(None, None)]

    def walk(node, depth=0):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            parts.append((node, key))
            if isinstance(node[key], dict | list) and depth < 20:
                walk(node[key], depth + 1)

    if isinstance(content, dict | list):
        walk(content)
    node, key = draw.choice(parts)
    value = draw.choice(HOSTILE)
    if node is None:
        return value
    kind = draw.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node[draw.choice(("../../escape", "/tmp/escape", "x", "zarr.json", "c", "a b", ""))] = node.pop(key)
    elif kind == 2:
        other, name = draw.choice(parts[1:])
        node[key] = json.loads(json.dumps(other[name])) if other is not node else value
    elif kind == 3 and isinstance(node[key], int) and not isinstance(node[key], bool):
        node[key] += draw.choice((1, -1, 10**15, 0.5))
    else:
        node[key] = value
    return resealed(content)


def resealed(content):
    """With right digests, wherever there were some."""
    if isinstance(content, dict):
        content = {name: resealed(part) for name, part in content.items()}
        if "sha256" in content and len(content) > 1:
            content = sealed({name: part for name, part in content.items() if name != "sha256"})
    return content


def bytes_of(draw, content):
    """Bytes with flips, a cut, an insertion, a repetition, or others in their place."""
    content = bytearray(content)
    place = draw.randrange(len(content) + 1)
    kind = draw.randrange(7)
    if kind <= 1 and content:
        for _ in range(draw.choice((1, 1, 2, 8))):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        del content[place:]
    elif kind == 3:
        content[place:place] = draw.randbytes(draw.randrange(1, 9))
    elif kind == 4:
        del content[place : place + draw.randrange(1, 9)]
    elif kind == 5:
        content[place:] = bytes(len(content) - place)
    else:
        content = bytearray(
            draw.choice((b"", b"[]", b"null", b"[" * 100_000, b"9" * 5000, b"\xff\xfe", draw.randbytes(40)))
        )
    return bytes(content)


def edit_json(draw, file):
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return
    file.write_text(json.dumps(edited(draw, content)), encoding="utf-8", errors="surrogatepass")


def instead(draw, path, file, outside):
    """Something that is no file, or leads elsewhere, in the place of a file."""
    file.unlink()
    kind = draw.randrange(6)
    if kind == 0:
        file.mkdir()
    elif kind == 1:
        os.mkfifo(file)
    elif kind == 2:
        file.symlink_to(outside / draw.choice(("kept", "nowhere")))
    elif kind == 3:
        file.symlink_to(draw.choice(("/dev/zero", "/dev/null", file.name, outside)))
    elif kind == 4:
        with file.open("wb") as stream:
            stream.truncate(draw.choice((2**20, 2**33, 2**42)))
    elif file.parent != path:
        parent = file.parent
        shutil.rmtree(parent, ignore_errors=True)
        parent.symlink_to(outside)


def damage(draw, path, other, outside):
    """Damage one of the files of a folder; `other` is one of the same kind, `outside` a folder that must stay."""
    files = files_of(path)
    if not files:
        return "nothing left"
    file = draw.choice(files)
    name = str(file.relative_to(path))
    kind = draw.randrange(12)
    if kind <= 2:
        file.write_bytes(bytes_of(draw, file.read_bytes()))
    elif kind <= 4:
        file = draw.choice([each for each in files if each.suffix == ".json"] or files)
        name = str(file.relative_to(path))
        edit_json(draw, file)
    elif kind == 5:
        file.unlink()
    elif kind == 6:
        shutil.rmtree(file.parent)
        if not path.exists():
            path.mkdir()
    elif kind <= 8:
        second = draw.choice([each for each in files if each.stat().st_size == file.stat().st_size] or files)
        name += f" and {second.relative_to(path)}"
        a, b = file.read_bytes(), second.read_bytes()
        file.write_bytes(b)
        if kind == 7:
            second.write_bytes(a)
    elif kind == 9:
        if (other / name).is_file():
            file.write_bytes((other / name).read_bytes())
    elif kind == 10:
        instead(draw, path, file, outside)
    else:
        extra = file.with_name(
            draw.choice(("extra", "block.99.json", "failures.0.json", "x.partial", "7", ".zarray", ".zgroup"))
        )
        if not extra.exists():
            extra.write_bytes(draw.choice((b"", b"{}", b'{"failures": {"0": "no"}}', draw.randbytes(30))))
    return f"{kind} {name}"
