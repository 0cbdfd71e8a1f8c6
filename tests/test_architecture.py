"""The house: who may import whom, what must be documented, and what must not occur in the source."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import dynsys
import models

ROOT = Path(dynsys.__file__).parents[1]
assert Path(models.__file__).parents[1] == ROOT


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for package in ("dynsys", "models") for path in sorted((ROOT / package).rglob("*.py"))
}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def nodes(tree, *, types=True, functions=True):
    """All nodes; without blocks for type checkers, without bodies of functions if so asked."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if (not types and is_type_checking(child)) or (
            not functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ):
            continue
        yield from nodes(child, types=types, functions=functions)


def imports(name, **which):
    """What a module imports: (module, imported name or None), with relative imports resolved."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in nodes(TREES[name], **which):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield from ((base, alias.name) for alias in node.names)


def imported_modules(name, **which):
    """Modules of the house that a module imports: `from package import module` is the module, not the package."""
    found = {f"{base}.{item}" if f"{base}.{item}" in MODULES else base for base, item in imports(name, **which)}
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


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "dynsys"])
def test_framework_never_imports_models(name):
    assert not {base for base, _ in imports(name) if base.split(".")[0] == "models"}
    called = {ast.unparse(node.func) for node in nodes(TREES[name]) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"importlib.import_module", "import_module", "__import__"})  # only a run would show these


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "models"])
def test_models_import_only_public_names_of_the_framework(name):
    aliases = set()
    for base, item in imports(name):
        if base.split(".")[0] == "dynsys":
            assert not any(map(is_private, (*base.split("."), item or "")))
            module = importlib.import_module(base)
            assert item is None or hasattr(module, item) or f"{base}.{item}" in MODULES
            assert item is None or base != "dynsys" or item in dynsys.__all__ or f"dynsys.{item}" in MODULES
            aliases.add(item or base)
    private = [
        ast.unparse(node)
        for node in nodes(TREES[name])
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in aliases
    ]
    assert private == []


@pytest.mark.parametrize("functions", [False, True], ids=["at the top", "inside functions too"])
def test_imports_make_no_circle(functions):
    graph = {name: imported_modules(name, types=False, functions=functions) for name in MODULES}
    assert sum(map(len, graph.values())) > len(MODULES) / 2  # the search does find imports
    assert circle(graph) is None


def test_search_for_circles_finds_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def public_definitions(tree, prefix=""):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef) and "Protocol" not in map(ast.unparse, node.bases):
                yield from public_definitions(node, f"{prefix}{node.name}.")


def is_setter(node):
    return any(isinstance(d, ast.Attribute) and d.attr in ("setter", "deleter") for d in node.decorator_list)


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_public_names_are_documented(name):
    assert ast.get_docstring(TREES[name])
    undocumented = [
        definition
        for definition, node in public_definitions(TREES[name])
        if not (ast.get_docstring(node) or "").strip() and not is_setter(node)
    ]
    assert undocumented == []


@pytest.mark.parametrize("name", [name for name, tree in TREES.items() if "__all__" in ast.dump(tree)])
def test_announced_names_exist_once_and_are_public(name):
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [item for item in module.__all__ if not hasattr(module, item) or item.startswith("_")] == []


def test_public_names_of_the_framework_belong_to_it():
    for item in dynsys.__all__:
        value = getattr(dynsys, item)
        assert inspect.isclass(value) or inspect.isfunction(value)
        assert value.__module__.split(".")[0] == "dynsys"


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "eval"}


@pytest.mark.parametrize("name", MODULES)
def test_no_text_or_file_is_executed(name):
    names = {node.id for node in nodes(TREES[name]) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in nodes(TREES[name]) if isinstance(node, ast.Attribute)}
    imported = {part for base, item in imports(name) for part in (*base.split("."), item)}
    assert FORBIDDEN.isdisjoint(names | attributes - {"eval"} | imported)  # a method `eval` is PyTorch's
    if name != "dynsys.equations.definition":  # which runs source that dynsys itself has generated
        assert {"exec", "compile"}.isdisjoint(names)


@pytest.mark.parametrize("name", MODULES)
def test_sympy_and_numpy_are_never_asked_to_read_code(name):
    for node in nodes(TREES[name]):
        if not isinstance(node, ast.Call):
            continue
        function, keywords = ast.unparse(node.func).split(".")[-1], {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert function not in ("parse_expr", "S")
        if function == "sympify":  # of a text it would be an evaluation
            assert keywords.get("strict") == "True", ast.unparse(node)
        if ast.unparse(node.func) == "np.load":
            assert keywords.get("allow_pickle") == "False", ast.unparse(node)


@pytest.mark.parametrize("name", MODULES)
def test_files_have_one_noun(name):
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines < 500
    assert lines <= 300 or f"`{MODULES[name].name}`" in CONTRIBUTING, "say there why it is so long"
