"""`evergreen mlflow ui`: MLflow's own pages, of the local cloud that runs in this folder or of a replay."""

from __future__ import annotations

import json
import signal
import socket
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from evergreen.errors import EvergreenError, UsageError
from evergreen_ops.console import REPLAYS

STORE = "mlflow.db"
_LOOK_SECONDS = 1.0

mlflow = typer.Typer(help="MLflow: runs, versions and aliases of the local cloud or a replay.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    """Add the commands to the `evergreen` command."""
    app.add_typer(mlflow, name="mlflow")


class NoStoreError(EvergreenError):
    """There is nothing that MLflow could show."""


@mlflow.command(
    help="Open MLflow: the running local cloud's, else that of the newest replay in this folder, until Ctrl-C."
    "\n\nExamples:\n\n  evergreen mlflow ui\n\n  evergreen mlflow ui replay/nycflights13 --port 5001 --no-browser"
)
def ui(
    folder: Annotated[
        Path | None, typer.Argument(help="A replay's folder (its --out).", show_default=False, metavar="DIR")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on localhost; 0 takes a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in the browser.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where it is as a line of JSON, and nothing else on stdout.")
    ] = False,
) -> None:
    """Open MLflow; see the help above, which the command shows."""
    running = None if folder is not None else _of_the_local_cloud()
    if running is not None:
        _tell(running, None, browser=browser, as_json=as_json)
        return
    _serve(_store_in(folder) if folder is not None else _newest_store(), port, browser=browser, as_json=as_json)


def _of_the_local_cloud() -> str | None:
    from local_cloud.server.running import running_server

    found = running_server()
    return None if found is None else found.get("mlflow")


def _store_in(folder: Path) -> Path:
    for place in (folder, folder / "mlflow"):
        if (place / STORE).is_file():
            return place
    raise UsageError(f"{folder} has no MLflow store: name the folder of a replay, such as {REPLAYS}/nycflights13")


def _newest_store() -> Path:
    stores = sorted(REPLAYS.glob(f"*/mlflow/{STORE}"), key=lambda store: store.stat().st_mtime)
    if not stores:
        raise NoStoreError(
            f"no local cloud runs in this folder, and no replay is in {REPLAYS}/: start `evergreen local up`, run "
            "`evergreen replay`, or name a replay's folder"
        )
    return stores[-1].parent


def _serve(store: Path, port: int, *, browser: bool, as_json: bool) -> None:
    from local_cloud.services.mlflow.server import MlflowServer

    _require_free(port)
    typer.echo(f"starting MLflow on {store} (some seconds)", err=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs begin with the first one ignored
        signal.signal(number, _interrupt)
    with suppress(KeyboardInterrupt), MlflowServer(store, port) as server:
        server.wait_ready()
        _tell(server.url, store, browser=browser, as_json=as_json)
        typer.echo("Ctrl-C ends it", err=True)
        while server.pid is not None:
            time.sleep(_LOOK_SECONDS)
        server.wait_ready()  # it ended by itself: this says why


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _require_free(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"--port {port} is taken: choose another, or 0 for a free one") from error


def _tell(url: str, store: Path | None, *, browser: bool, as_json: bool) -> None:
    told = {"url": url, "store": None if store is None else str(store)}
    typer.echo(json.dumps(told) if as_json else f"MLflow: {url}")
    if browser:
        webbrowser.open(url)
