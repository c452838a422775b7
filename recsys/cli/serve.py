"""`recsys serve`: a bundle answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundle: Annotated[Path, typer.Option(help="Folder that `recsys package` wrote.")],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    token: Annotated[
        str, typer.Option(envvar="RECSYS_TOKEN", help="What clients must send as a bearer token.")
    ] = "",
    state: Annotated[
        Path | None,
        typer.Option(help="Folder of what happens while serving; by default the bundle's name and .state."),
    ] = None,
    max_k: Annotated[int, typer.Option("--max-k", min=1, help="Items that a request may ask for.")] = 1000,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1, help="Bytes that a request's body may have.")
    ] = 4 * 2**20,
) -> None:
    """Answer over HTTP from a bundle: recommendations, similar items, new items, interactions, explanations."""
    from recsys.optional_imports import require

    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require(module, "serve")
    from recsys.serving.serve import Options, run_service
    from recsys.serving.service import Limits, default_folder

    folder = state or default_folder(bundle)
    run_service(Options(bundle, folder, host, port, workers, Limits(max_k, max_body, token)))
