"""Kernels that call only their own copies of the functions they consist of: one kernel, one sequence of bits.

Numba compiles each function of a module by itself and links copies of all into the kernel that calls them. A copy is
optimised once more there, so that a sum may round differently, and its symbol is weak: a process that has just compiled
the kernel also holds the functions by themselves, and the linker takes those; one that finds the kernel on the disk
holds nothing else, and takes the copies. Local symbols leave no choice.
"""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def sealed_compiler() -> Any:
    """The `pipeline_class` of kernels: Numba's own compiler, with a library in which what was linked in is local."""
    from numba.core.codegen import JITCodeLibrary  # Numba is imported only when something is compiled
    from numba.core.compiler import Compiler

    class SealedLibrary(JITCodeLibrary):
        """Compiled code in which what was linked in is local."""

        def _optimize_final_module(self) -> None:
            super()._optimize_final_module()
            for function in self._final_module.functions:  # after the optimiser, which would otherwise see other code
                if function.linkage.name == "linkonce_odr" and not function.is_declaration:
                    function.linkage = "internal"

    class Sealed(Compiler):
        """Numba's compiler with such a library."""

        def define_pipelines(self) -> list[object]:
            """The passes of the compiler."""
            self.state.library = SealedLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
            return super().define_pipelines()

    return Sealed
