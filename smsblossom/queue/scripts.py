"""The Lua scripts as files, loaded once and run by digest."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    digest: str


@cache
def load(name: str) -> Script:
    """The script `lua/<name>.lua` with the common part before it."""
    folder = files(__package__) / "lua"
    text = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())
