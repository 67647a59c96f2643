"""The fake Mitto's own books: which texts would have reached a phone, and how each call was answered.

They are the auditor of the service, so they share no code with it. With a file, each accepted text is one JSON line
written before the call is answered; a killed process leaves the whole ledger behind, and a new one continues it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec


class Text(msgspec.Struct, kw_only=True, gc=False):
    """One accepted text. `answered` tells how the call that brought it ended; `status` is what a look-up shows."""

    seq: int
    at: datetime
    id: str
    api: str
    to: str
    sender: str = msgspec.field(name="from")
    text: str
    type: str
    parts: int
    reference: str | None = None
    callback: str | None = None
    validity: int | None = None
    answered: str = "ok"
    status: str = "Sent"


class Call(msgspec.Struct, kw_only=True, gc=False):
    """One HTTP call, accepted or not."""

    seq: int
    at: datetime
    path: str
    texts: int
    references: list[str]
    answered: str


class Snapshot(msgspec.Struct, kw_only=True):
    """The answer of `GET /ledger`.

    `calls` and `call_texts` count calls, and the texts they carried, by how they were answered: ok, refused:CODE, 400,
    401, 429, 500-before, 500-after, hang, slow, reset, garbage; abandoned is an ok whose client had gone before it was
    sent. `test_texts` were accepted with `test: true` and reach no phone.
    """

    texts: list[Text]
    test_texts: list[Text] = []
    calls: dict[str, int] = {}
    call_texts: dict[str, int] = {}
    reports: dict[str, int] = {}


class Ledger:
    """Texts and calls in the order they came, with a sequence that also grows over restarts when there is a file."""

    def __init__(self, file: Path | None = None) -> None:
        self._seq: int = 0
        self._handle: int | None = None
        self._clear()
        if file is not None:
            self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._continue(file)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def accept(self, text: Text) -> None:
        """Keep a text, on disk first where there is a file (`write` suffices: a kill does not lose the page cache)."""
        if self._handle is not None:
            os.write(self._handle, _ENCODER.encode(text) + b"\n")
        self._index(text)

    def accept_test(self, text: Text) -> None:
        self._test_texts.append(text)
        self._by_id[text.id] = text

    def called(self, call: Call) -> None:
        self.calls.append(call)
        self._count(call, 1)

    def abandoned(self, call: Call, texts: list[Text]) -> None:
        """The client went away before its ok was sent: for it the outcome is as open as after a hang."""
        self._count(call, -1)
        call.answered = "abandoned"
        self._count(call, 1)
        for text in texts:
            text.answered = call.answered

    def reported(self, kind: str) -> None:
        self.reports[kind] += 1

    def find(self, message_id: str) -> Text | None:
        return self._by_id.get(message_id)

    def snapshot(self, *, reference: str | None = None, since: int = 0) -> Snapshot:
        """All texts, or those with one reference, or those with a sequence above `since`."""
        texts = self._texts if reference is None else self._by_reference.get(reference, [])
        return Snapshot(
            texts=[text for text in texts if text.seq > since] if since else list(texts),
            test_texts=list(self._test_texts),
            calls=+self._calls_by_answer,
            call_texts=+self._texts_by_answer,
            reports=dict(self.reports),
        )

    def delete(self) -> None:
        """Forget everything, on disk too; the sequence goes on, so that nothing gets a number twice."""
        self._clear()
        if self._handle is not None:
            os.ftruncate(self._handle, 0)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _continue(self, file: Path) -> None:
        for text in read_ledger_file(file):
            self._index(text)
            self._seq = max(self._seq, text.seq)
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)  # drops a last line that a kill cut short

    def _clear(self) -> None:
        self._texts: list[Text] = []
        self._test_texts: list[Text] = []
        self._by_id: dict[str, Text] = {}
        self._by_reference: defaultdict[str, list[Text]] = defaultdict(list)
        self._calls_by_answer: Counter[str] = Counter()
        self._texts_by_answer: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.reports: Counter[str] = Counter()

    def _index(self, text: Text) -> None:
        self._texts.append(text)
        self._by_id[text.id] = text
        if text.reference is not None:
            self._by_reference[text.reference].append(text)

    def _count(self, call: Call, by: int) -> None:
        self._calls_by_answer[call.answered] += by
        self._texts_by_answer[call.answered] += by * call.texts


def read_ledger_file(file: Path) -> Iterator[Text]:
    """The texts of a ledger file, without a server; a last line that a kill cut short is passed over."""
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield _DECODER.decode(line)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Text)
