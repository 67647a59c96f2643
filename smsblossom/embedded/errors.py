"""What can go wrong with the embedded servers, said in one sentence a person can act on."""


class EmbeddedError(RuntimeError):
    """The embedded servers cannot run here; the message says why and what to do about it."""
