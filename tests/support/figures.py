"""Where a proof leaves its figures: on the terminal, and in the file that JSON names."""

import json
import os
from pathlib import Path
from typing import Any


def tell(name: str, figures: dict[str, Any]) -> None:
    """Print the figures; merge them under `name` into the file that the environment variable JSON names."""
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    file = os.environ.get("JSON")  # noqa: TID251  a choice of the run, not a setting
    if not file:
        return
    path = Path(file)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() and path.stat().st_size else {}
    path.write_text(json.dumps({**known, name: {**known.get(name, {}), **figures}}, indent=2) + "\n", encoding="utf-8")
