"""A terminal for tests to look at."""

import os
import pty
import select
import termios

import pyte

COLUMNS, ROWS = 60, 24


class Terminal:
    """A pseudo-terminal, and what one sees on it.

    Attributes:
        inner: the descriptor for a process that is to run on it.
        raw: all bytes that came.
    """

    def __init__(self):
        self.outer, self.inner = pty.openpty()
        termios.tcsetwinsize(self.inner, (ROWS, COLUMNS))
        self.screen = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def resize(self, columns):
        termios.tcsetwinsize(self.inner, (ROWS, columns))
        self.screen.resize(ROWS, columns)

    def read(self):
        while select.select([self.outer], [], [], 0)[0]:
            data = os.read(self.outer, 1 << 16)
            self.raw += data
            self.stream.feed(data)

    def type(self, text):
        os.write(self.outer, text.encode())

    def lines(self):
        """All that can be read on it and above it, without what is blank at the end."""
        self.read()
        above = [[row[column].data for column in range(COLUMNS)] for row in self.screen.history.top]
        rows = ["".join(row).rstrip() for row in above] + [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows
