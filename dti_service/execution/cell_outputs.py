"""What a cell printed and displayed, bounded, so that no notebook grows without end and floods stay cheap."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from nbformat import NotebookNode

MOST_TEXT = 1_000_000  # characters of printed text kept from the beginning of a cell
LAST_TEXT = 100_000  # and of what comes after that, from its end
MOST_RICH = 32 * 2**20  # characters of pictures and other displays of one cell
MOST_OUTPUTS = 1000  # outputs of one cell

_OVERWRITTEN = re.compile(r"[^\n\r]*\r(?=[^\n])")


def collapse(text: str) -> str:
    """Text as a terminal would show it: what a carriage return overwrites is gone (progress bars)."""
    return _OVERWRITTEN.sub("", text) if "\r" in text else text


class _Stream:
    """One stream output of the notebook and the pieces that its text is made of."""

    def __init__(self, name: str) -> None:
        self.node = NotebookNode(output_type="stream", name=name, text="")
        self.pieces: list[str] = []
        self.size = 0
        self.written = 0  # pieces that the node's text holds

    def add(self, text: str) -> None:
        if "\r" in text:
            joined = collapse("".join(self.pieces) + text)
            self.pieces, self.size, self.written = [joined], len(joined), 0
        else:
            self.pieces.append(text)
            self.size += len(text)

    def render(self) -> None:
        if self.written != len(self.pieces):
            self.pieces = ["".join(self.pieces)]
            self.node["text"] = self.pieces[0]
            self.written = 1


class CellOutputs:
    """The outputs of one cell; `outputs` is the cell's own list."""

    def __init__(self, outputs: list[Any]) -> None:
        self.outputs = outputs
        self.changed = False
        self._streams: list[_Stream] = []
        self._printed = 0
        self._rich = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._left_out = 0
        self._tail_node: NotebookNode | None = None

    def print(self, name: str, text: str) -> None:
        """Text on the stream of that name; it joins what was printed just before."""
        self.changed = True
        # One message may hold far more than there is room for: a kernel that is behind sends what it has at once.
        room = 0 if self._tail else max(0, MOST_TEXT - self._printed)
        first, rest = text[:room], text[room:]
        if first:
            stream = self._stream(name)
            self._printed -= stream.size  # a progress bar may make it shorter
            stream.add(first)
            self._printed += stream.size
        if rest:
            self._add_to_tail(rest)

    def _stream(self, name: str) -> _Stream:
        last = self.outputs[-1] if self.outputs else None
        full = len(self.outputs) >= MOST_OUTPUTS
        for stream in reversed(self._streams):
            if stream.node["name"] == name and (full or stream.node is last):
                return stream
        stream = _Stream(name)
        self._streams.append(stream)
        self.outputs.append(stream.node)
        return stream

    def _add_to_tail(self, text: str) -> None:
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) >= LAST_TEXT:
            gone = self._tail.popleft()
            self._tail_size -= len(gone)
            self._left_out += len(gone)
        if self._tail_node is None:
            self._tail_node = NotebookNode(output_type="stream", name="stdout", text="")
            self.outputs.append(self._tail_node)

    def displayed(self, output: NotebookNode) -> None:
        """An output other than text was appended: keep it if there is room."""
        self.changed = True
        data = output.get("data", {})
        size = sum(len(value) for value in data.values() if isinstance(value, str))
        self._rich += size
        if self._rich > MOST_RICH or len(self.outputs) > MOST_OUTPUTS:
            self._rich -= size
            if len(self.outputs) > MOST_OUTPUTS + 1:
                self.outputs.pop()
            elif data:
                data.clear()
                note = f"[an output of {size / 2**20:.1f} MB is left out: this cell displays too much]"
                data["text/plain"] = note

    def cleared(self) -> None:
        """The cell's outputs were removed by the notebook itself."""
        self.changed = True
        self._streams.clear()
        self._tail.clear()
        self._tail_size = self._left_out = self._rich = self._printed = 0
        self._tail_node = None

    def render(self) -> None:
        """Bring the texts in the cell up to date."""
        for stream in self._streams:
            stream.render()
        if self._tail_node is not None:
            text = collapse("".join(self._tail))
            left_out = self._left_out + max(0, len(text) - LAST_TEXT)
            note = f"\n[... {left_out} characters are left out here ...]\n" if left_out else ""
            self._tail_node["text"] = note + text[-LAST_TEXT:]
        self.changed = False
