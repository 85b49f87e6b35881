"""`evergreen local up` and `local down`: the local cloud as a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from evergreen_ops.console import existing_template

local = typer.Typer(help="The local cloud: the template on this machine, for any boto3 client.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    app.add_typer(local, name="local")


@local.command(
    "up", help="Deploy the template and serve it on localhost until Ctrl-C.\n\nExample: evergreen local up --port 4566"
)
def local_up(
    template: Annotated[
        Path | None, typer.Option(help="Template to deploy; by default Evergreen's own.", show_default=False)
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Deploy nothing: for `sam deploy`.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port on localhost.")] = 4566,
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Start an MLflow server too, for a template that takes one.")
    ] = True,
) -> None:
    """Serve the local cloud in the foreground."""
    from evergreen_ops.replay.run import TEMPLATE
    from local_cloud.server import server

    chosen = None if empty else existing_template(template or TEMPLATE)
    unwanted = not mlflow and chosen is not None and server.takes_mlflow(chosen)
    server.up(chosen, port=port, parameters={server.TRACKING_PARAMETER: ""} if unwanted else None)


@local.command(
    "down",
    help="Stop the local cloud that `evergreen local up` started in this folder.\n\nExample: evergreen local down",
)
def local_down(as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False) -> None:
    """Stop the local cloud."""
    from local_cloud.server import server

    stopped = server.down()
    typer.echo(json.dumps({"stopped": stopped}) if as_json else "stopped" if stopped else "nothing was running")
