"""What a processor says by raising, and what the engine makes of it.

Retryable   worth another attempt: after the back-off, or after what the other side asked for
Permanent   no attempt will help: straight to the dead letters
(anything else, a time-out included, is retried like Retryable)
"""

from datetime import timedelta


class Retryable(Exception):  # noqa: N818
    """The attempt failed and another may succeed. `after` replaces the back-off, as a Retry-After would."""

    def __init__(self, message: str = "", *, after: timedelta | None = None) -> None:
        super().__init__(message)
        self.after = after


class Permanent(Exception):  # noqa: N818
    """No further attempt can succeed."""


class JobTimedOut(Exception):  # noqa: N818
    """The job ran longer than its time limit."""


class JobAborted(Exception):  # noqa: N818
    """An operator stopped the job."""


class JobExpired(Exception):  # noqa: N818
    """The job was not started before the moment its caller named."""


class JobStalled(Exception):  # noqa: N818
    """The job's worker died under it more often than the limit allows."""


class UnknownFunction(Exception):  # noqa: N818
    """No release that met this job within the limit knows its function."""


class BrokenJob(Exception):  # noqa: N818
    """The job's data is missing or cannot be read."""


class ChildFailed(Exception):  # noqa: N818
    """A job this one waited for ended without success."""
