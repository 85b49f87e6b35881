"""Give the package an extra, ``pins``: the exact version of everything, as constraints.txt lists it.

uv resolves all extras of a project together. What the extra pins is therefore pinned for ``uv run`` and ``uv sync``
too, although neither installs the extra. docs/decisions/0006-pins-without-a-lock-file.md says why it is done this way.
"""

from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Pins(MetadataHookInterface):
    """Read the extra from constraints.txt."""

    def update(self, metadata: dict) -> None:
        """Add the extra to the project's metadata."""
        lines = Path(self.root, "constraints.txt").read_text(encoding="utf-8").splitlines()
        metadata["optional-dependencies"] = {"pins": [line for line in lines if line and not line.startswith("#")]}
