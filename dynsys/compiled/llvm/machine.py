"""From LLVM to this processor: modules are optimised, kept on the disk as object code, and called by address."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.compiled.llvm.translate import argument_types, translate
from dynsys.storage.cache import kept

_one_at_a_time = threading.Lock()  # threads of a pass ask for the same code at the same moment


def compiled(source: str, exports: tuple[str, ...], width: int = 8, vectors: tuple[str, ...] = ()) -> dict[str, int]:
    """Addresses of the functions that some source exports; see `dynsys.compiled.llvm.translate.translate`."""
    with _one_at_a_time:
        return _compiled(source, exports, width, vectors)


@lru_cache(maxsize=512)
def _compiled(source: str, exports: tuple[str, ...], width: int, vectors: tuple[str, ...]) -> dict[str, int]:
    import llvmlite
    import llvmlite.binding as llvm

    machine = _machine()
    made_from = "\n".join(
        [
            llvmlite.__version__,
            str(llvm.llvm_version_info),
            *_processor(),
            _translator(),
            repr(exports),
            repr((width, vectors)),
            source,
        ]
    )
    content = kept().once("code", made_from, lambda: _object_code(translate(source, exports, width, vectors)))
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(f'target triple = "{machine.triple}"'), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(content))
    engine.finalize_object()
    _engines.append(engine)
    return {name: engine.get_function_address(name) for name in exports}


_engines: list[Any] = []  # what they hold is called as long as the process lives


def _object_code(text: str) -> bytes:
    import llvmlite.binding as llvm

    machine = _machine()
    module = llvm.parse_assembly(f'target triple = "{machine.triple}"\n{text}')
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True  # but no vectors of neighbouring statements, which cost more than they gain here
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


@cache
def _translator() -> str:
    """What tells this translator from those before: what they made of the same source may be wrong."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def _machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = _processor()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, codemodel="jitdefault", jit=True)


@cache
def _processor() -> tuple[str, str]:
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def is_there() -> bool:
    """Whether llvmlite is installed."""
    return importlib.util.find_spec("llvmlite") is not None


def function(address: int, arguments: Sequence[Any]) -> Any:
    """What is called from Python: a function of ints, floats and addresses, without the lock of the interpreter."""
    return ctypes.CFUNCTYPE(None, *arguments)(address)


def exported(source: str, name: str) -> Callable[..., None]:
    """A function of some source, for numbers and for arrays of which it is given where they begin; None: nowhere."""
    call = function(compiled(source, (name,))[name], [KINDS[kind] for kind in argument_types(source, name)])
    return lambda *values: call(*(v.ctypes.data if isinstance(v, np.ndarray) else v for v in values))


KINDS = {"int": ctypes.c_int64, "float": ctypes.c_double} | dict.fromkeys(("floats", "ints", "ints32"), ctypes.c_void_p)
