"""The command line's entry point: `python deploy.py` in a checkout, `edgewright` where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Runs the command line; never returns."""
    from edgewright.commands.app import main as run

    run()


def _make_importable(root: Path) -> None:
    """`edgewright` is this checkout, whatever its folder is called, and its rooms hide no module of the user's."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != root or not entry]
    spec = importlib.util.spec_from_file_location(
        "edgewright", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{root} is not a checkout of edgewright")
    package = importlib.util.module_from_spec(spec)
    sys.modules["edgewright"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _make_importable(Path(__file__).resolve().parent)
    main()
