"""The running kernel, if there is one: how outputs are shown in it, and whether a person sits before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.redaction.kernel import install_in_kernel
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


KEPT_VARIABLE = "FLOWREX_OPS_KEEPS_SAVED"
"""Set where JupyterLab keeps what it saves as a record (``record/live.py``)."""


class Notebook:
    """Shows outputs in the running kernel; outside of one they go to the terminal as text."""

    def __init__(self, *, live: bool = False) -> None:
        self.live = live
        """Whether an engineer can be asked: the front end takes input, which batch runners do not."""

    @classmethod
    def current(cls, settings: Settings) -> Notebook:
        """The kernel that this code runs in, made to redact everything it sends before anything is shown."""
        install_in_kernel(Redactor(settings.secret_values()))
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        kernel = getattr(shell, "kernel", None)
        # ipykernel keeps what the execute request said of stdin (Jupyter messaging: execute_request, allow_stdin).
        return cls(live=bool(getattr(kernel, "_allow_stdin", False)))

    @staticmethod
    def namespace() -> dict[str, Any]:
        """The variables of the notebook that this code runs in; none outside a kernel."""
        from IPython.core.getipython import get_ipython

        found: dict[str, Any] = getattr(get_ipython(), "user_ns", {})
        return found

    def show(self, html: str, text: str, data: dict[str, Any] | None = None) -> None:
        """One output: HTML for people, text beside it, and *data* for programs under our own MIME type."""
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        if get_ipython() is None:
            display(text)  # as print does
            return
        bundle: dict[str, Any] = {"text/html": html, "text/plain": text}
        if data is not None:
            bundle[OUTCOME_MIME_TYPE] = data
        display(bundle, raw=True)

    def show_updating(self, html: str, text: str) -> Callable[[str, str], None]:
        """An output that is replaced, where it stands, by what the returned function is called with."""
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        if getattr(get_ipython(), "kernel", None) is None:
            return lambda _html, _text: None
        handle = display({"text/html": html, "text/plain": text}, raw=True, display_id=True)
        return lambda html, text: handle.update({"text/html": html, "text/plain": text}, raw=True)

    def show_text(self, text: str) -> None:
        """A text in a fixed-width box, to copy."""
        from html import escape

        self.show(f"<pre>{escape(text)}</pre>", text)

    def show_figure(self, figure: Figure) -> None:
        """A matplotlib figure, once, as PNG; its title stands beside it as text, and alone where nothing is drawn or can be shown."""
        from html import escape
        from io import BytesIO

        from IPython.core.getipython import get_ipython
        from IPython.display import Image, display

        title = figure.axes[0].get_title() if figure.axes else "chart"
        if get_ipython() is None:
            display(f"chart: {title}")
            return
        if not any(axes.has_data() or axes.texts for axes in figure.axes):
            self.show(f"<p>{escape(title)}.</p>", title)
            return
        picture = BytesIO()
        figure.canvas.print_png(picture)  # type: ignore[attr-defined]  # Agg's; savefig would lay it out twice
        display(Image(picture.getvalue(), format="png", alt=title), metadata={"image/png": {"alt": title}})
