"""The house: who may import whom, what must be documented, and what must not occur in the source."""

import ast
import importlib
import importlib.machinery
import inspect
import subprocess
import sys
from functools import cache
from pathlib import Path

import dynsys

ROOT = Path(dynsys.__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOMS, LAYERS = 18, 10  # of dynsys, beside __init__.py and the link models


def module_name(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(name): ROOT / path
    for path in sorted(p.relative_to(ROOT) for folder in ("dynsys", "models") for p in (ROOT / folder).rglob("*.py"))
    if path.parts[:2] != ("dynsys", "models")  # whatever rglob does with a link
    for name in [path if path.parts[0] == "dynsys" else Path("dynsys") / path]
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
NODES = {name: list(ast.walk(tree)) for name, tree in TREES.items()}
WITH_TORCH = importlib.util.find_spec("torch") is not None
FRAMEWORK = [name for name in MODULES if name.split(".")[1:2] != ["models"]]
OF_MODELS = [name for name in MODULES if name not in FRAMEWORK]


def imports(name):
    """What a module imports, for types and inside functions too: (module, imported name or None)."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in NODES[name]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield from ((base, alias.name) for alias in node.names)


@cache
def imported_modules(name):
    """Modules of the house that a module imports: `from package import module` is the module, not the package."""
    found = {f"{base}.{item}" if f"{base}.{item}" in MODULES else base for base, item in imports(name)}
    return found & set(MODULES) - {name}


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


def circle(graph):
    """A circle in a directed graph, or None."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        found = next(filter(None, map(visit, sorted(graph[name]))), None)
        path.pop()
        done.add(name)
        return found

    return next(filter(None, map(visit, graph)), None)


def rooms(folder):
    """The files and folders of a package, each with those that it imports; __init__ and its link models apart."""
    inside = [name for name in MODULES if name.startswith(f"{folder}.")]
    depth = folder.count(".") + 1
    of = {name: name.split(".")[depth] for name in inside if (folder, name.split(".")[depth]) != ("dynsys", "models")}
    graph = {room: set() for room in of.values()}
    for name, room in of.items():
        graph[room] |= {of[other] for other in imported_modules(name) if other in of} - {room}
    return graph


def layers(graph):
    """The layer of each node of a graph without circles: one above the highest that it imports."""
    found = {}

    def layer(node):
        if node not in found:
            found[node] = 1 + max(map(layer, graph[node]), default=0)
        return found[node]

    return {node: layer(node) for node in graph}


def complaints(check, names=tuple(MODULES)):
    """What a check yields for each module, as lines; a test wants none."""
    return [f"{name}: {complaint}" for name in names for complaint in check(name)]


def test_framework_never_imports_models():
    def check(name):
        for base, item in imports(name):
            if f"{base}.{item}".startswith(("dynsys.models", "models.")) or (base, item) == ("models", None):
                yield f"imports {base}.{item}"
        called = {ast.unparse(node.func) for node in NODES[name] if isinstance(node, ast.Call)}
        yield from called & {"importlib.import_module", "import_module", "__import__"}  # only a run would show these

    assert complaints(check, FRAMEWORK) == []


def test_models_import_only_public_names_of_the_framework():
    def check(name):
        aliases = set()
        for base, item in imports(name):
            if base in FRAMEWORK:
                if any(map(is_private, (*base.split("."), item or ""))):
                    yield f"{base}.{item} is private"
                module = importlib.import_module(base)
                if item and not hasattr(module, item) and f"{base}.{item}" not in MODULES:
                    yield f"{base} has no {item}"
                if item and base == "dynsys" and item not in dynsys.__all__ and f"dynsys.{item}" not in MODULES:
                    yield f"{item} is not announced"
                aliases.add(item or base)
        for node in NODES[name]:
            if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in aliases:
                yield ast.unparse(node)

    assert complaints(check, OF_MODELS) == []


def test_imports_make_no_circle_types_and_functions_included():
    graph = {name: imported_modules(name) for name in MODULES}
    assert sum(map(len, graph.values())) > len(MODULES) / 2  # the search does find imports
    assert circle(graph) is None
    for folder in ("dynsys", "dynsys.models"):
        assert circle(rooms(folder)) is None, folder


def test_search_for_circles_finds_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
    assert layers({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": 3, "b": 2, "c": 1}


def test_the_house_has_few_rooms_on_few_floors():
    graph = rooms("dynsys")
    listed = {path.name for path in (ROOT / "dynsys").iterdir()} - {"__init__.py", "__pycache__", "models"}
    assert len(listed) <= ROOMS
    assert {name.removesuffix(".py") for name in listed} - {"py.typed"} == set(graph)
    found = layers(graph)
    on_top = {room for room in graph if any(m.startswith(f"dynsys.{room}") for m in imported_modules("dynsys"))}
    assert max(found.values()) <= LAYERS
    assert 1 + max(found[room] for room in on_top) <= LAYERS  # dynsys/__init__.py itself


def test_no_file_is_imported_under_two_names():
    code = """
    import importlib, os, pkgutil, sys, dynsys
    for module in pkgutil.walk_packages(dynsys.__path__, "dynsys."):
        if "__main__" in module.name:
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as problem:  # an extra, or no compiler
            assert any(name in str(problem).lower() for name in ("torch", "numba", "llvmlite")), problem
    files = [os.path.realpath(m.__file__) for m in sys.modules.values() if getattr(m, "__file__", None)
             and m.__name__.split(".")[0] in ("dynsys", "models")]
    assert len(files) == len(set(files)) > 100, len(files)
    assert not [name for name in sys.modules if name.split(".")[0] == "models"]
    sys.path.insert(0, os.path.dirname(os.path.dirname(dynsys.__file__)))
    try:
        import models.classics
    except ImportError as problem:
        assert "dynsys.models" in str(problem)
    else:
        raise AssertionError("models can be imported by another name")
    """
    done = subprocess.run([sys.executable, "-c", inspect.cleandoc(code)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def public_definitions(tree, prefix=""):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                yield from public_definitions(node, f"{prefix}{node.name}.")


def is_setter(node):
    return any(isinstance(d, ast.Attribute) and d.attr in ("setter", "deleter") for d in node.decorator_list)


def is_overload(node):
    """One of the types of a function, which is defined below it."""
    return "overload" in map(ast.unparse, node.decorator_list)


def test_modules_and_public_names_are_documented():
    def check(name):
        if not ast.get_docstring(TREES[name]):
            yield "the module"
        for definition, node in public_definitions(TREES[name]):
            if not (ast.get_docstring(node) or "").strip() and not (is_setter(node) or is_overload(node)):
                yield definition

    assert complaints(check) == []


def test_announced_names_exist_once_and_are_public():
    def check(name):
        module = importlib.import_module(name)
        if len(set(module.__all__)) < len(module.__all__):
            yield "a name twice"
        yield from (item for item in module.__all__ if not hasattr(module, item) or item.startswith("_"))

    announcing = [name for name, tree in TREES.items() if "__all__" in ast.dump(tree)]
    announcing = [name for name in announcing if WITH_TORCH or name != "dynsys.torch"]
    assert len(announcing) > 5
    assert complaints(check, announcing) == []


def test_public_names_of_the_framework_belong_to_it():
    for item in dynsys.__all__:
        value = getattr(dynsys, item)
        assert inspect.isclass(value) or inspect.isfunction(value)
        assert value.__module__.split(".")[0] == "dynsys"


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "eval"}


def test_no_text_or_file_is_executed():
    def check(name):
        names = {node.id for node in NODES[name] if isinstance(node, ast.Name)}
        attributes = {node.attr for node in NODES[name] if isinstance(node, ast.Attribute)}
        imported = {part for base, item in imports(name) for part in (*base.split("."), item)}
        sealed = {"pickle"} if name == "dynsys.compiled.kernel_cache" else set()  # what has the seal of its own user
        yield from FORBIDDEN & (names | attributes - {"eval"} | imported) - sealed  # a method `eval` is PyTorch's
        if name != "dynsys.equations.definition":  # which runs source that dynsys itself has generated
            yield from {"exec", "compile"} & names

    assert complaints(check) == []


def test_sympy_and_numpy_are_never_asked_to_read_code():
    def check(name):
        for node in NODES[name]:
            if not isinstance(node, ast.Call):
                continue
            called, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            function = called.split(".")[-1]
            if (
                function in ("parse_expr", "S")
                or (function == "sympify" and keywords.get("strict") != "True")  # of a text it would be an evaluation
                or (called == "np.load" and keywords.get("allow_pickle") != "False")
            ):
                yield ast.unparse(node)

    assert complaints(check) == []


def test_files_have_one_noun():
    def check(name):
        lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
        if lines >= 500:
            yield f"{lines} lines"
        if lines > 300 and f"`{MODULES[name].name}`" not in CONTRIBUTING:
            yield "say in CONTRIBUTING why it is so long"

    assert complaints(check) == []


def test_lowest_versions_are_declared_as_the_script_that_tries_them_reads_them():
    loader = importlib.machinery.SourceFileLoader("versions", str(ROOT / ".ci" / "versions"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("versions", loader))
    loader.exec_module(script)
    names = [line.split("==")[0] for line in script.lowest()]
    assert {"numpy", "zarr", "distributed", "pytest"} <= set(names)
    assert len(names) == len(set(names))
