"""The papermill engine ``flowrex``: papermill parameterizes, this runs the cells and keeps the record true.

It speaks papermill's engine protocol without inheriting from one of its engines: papermill loads this module in the
middle of its own import, so a base class could not be imported here whichever of the two came first.

Papermill gets no output path: it writes parameters in clear before it runs, and marks cells that never ran as
completed. Here each cell's result is written as it ends, to a temporary file, with fsync and rename.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from flowrex_ops.record.client import Limits
    from flowrex_ops.record.interrupts import Guard
    from flowrex_ops.record.process import KernelProcess
    from flowrex_ops.record.recorder import Recorder


class RecordEngine:
    """Runs a notebook into a recorder; without one (``papermill --engine flowrex``) it is papermill's own engine."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        recorder: Recorder | None = None,
        kernel: KernelProcess | None = None,
        limits: Limits | None = None,
        guard: Guard | None = None,
        **options: Any,
    ) -> NotebookNode:
        """Execute *nb*; with a recorder no failure of a cell, the kernel or a limit is raised: the record tells."""
        if recorder is None or kernel is None or limits is None or guard is None:
            from papermill.engines import NBClientEngine

            executed: NotebookNode = NBClientEngine.execute_notebook(nb, kernel_name, **options)
            return executed
        from flowrex_ops.record.client import RecordClient

        recorder.adopt(nb)
        RecordClient(nb, recorder, kernel, limits, guard).run()
        return nb

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """The kernel that *nb* asks for."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """The language of *nb*."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))
