"""The `evergreen` command: its groups of commands, and what an error means for its exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from evergreen.errors import EvergreenError
from evergreen_ops.commands import (
    apply,
    decide,
    drift,
    lineage,
    local,
    mlflow,
    monitor,
    online,
    replay,
    show,
    source,
    train,
    tune,
    verdict,
)
from evergreen_ops.console import REFUSED, WRONG_USE, complain

app = typer.Typer(
    name="evergreen",
    help="Keeps a model in production good: retrains it when it has to, proves the new version, rolls a bad one back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,  # boxes are for a terminal: drawing them is half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order of the help.
for group in (
    replay,
    tune,
    verdict,
    drift,
    apply,
    show,
    decide,
    local,
    mlflow,
    online,
    monitor,
    train,
    source,
    lineage,
):
    group.add(app)


def _version(wanted: bool) -> None:
    if wanted:
        from evergreen import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command; a known error is one line on stderr, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        code = _exit_code(error)
        if code is None:  # a defect of ours: its traceback is what helps
            raise
        _fail(" ".join(str(error).split()), code)


def _exit_code(error: Exception) -> int | None:
    """What an error means for the caller; None for one that nobody foresaw."""
    if isinstance(error, EvergreenError):
        return error.exit_code
    from local_cloud.kernel.errors import LocalCloudError, TemplateError, UnsupportedResourceError
    from local_cloud.services.mlflow.server import MlflowServerError

    match error:
        case TemplateError() | UnsupportedResourceError():
            return WRONG_USE
        case LocalCloudError() | MlflowServerError():
            return REFUSED
        case _:
            return None


def _fail(message: str, code: int) -> None:
    complain(message)
    sys.exit(code)


if __name__ == "__main__":
    main()
