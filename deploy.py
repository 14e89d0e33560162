"""The command line's entry point: `python deploy.py` in a checkout, `edgewright` where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

INSTALL = "pip install -e '.[onnxruntime]' -c constraints.txt"


def main() -> None:
    """Runs the command line; never returns. Says what to install where a package is missing."""
    try:
        from edgewright.commands.app import main as run
    except ModuleNotFoundError as error:
        if str(error.name).startswith("edgewright"):
            raise
        sys.exit(f"error: {error.name} is not installed for {sys.executable}; in the checkout: {INSTALL}")
    run()


def _make_importable(root: Path) -> None:
    """`edgewright` is this checkout, whatever its folder is called, and its rooms hide no module of the user's."""
    if not (root / "__init__.py").is_file():
        sys.exit(f"error: {root}: expected the checkout of edgewright around deploy.py")
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
