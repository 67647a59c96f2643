"""The commands. Each module is imported when its command runs, so that `--help` is quick."""

from smsblossom.cli.main import main

__all__ = ["main"]
