r"""Untrusted text, made safe to show.

Owns the one rule for text that came from a file, a path or a caller and goes to a terminal
or into a line of text (R9, fault 43): nothing in it may start a line, move the cursor or
reverse the reading order. Promises: never raises, whatever the string holds; imports two
small modules of the standard library, so the command line may use it at no cost.
"""

from __future__ import annotations

import unicodedata

# Control, format (bidi marks are among them), line and paragraph separators, lone surrogates.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def escape(text: str) -> str:
    r"""Return `text` with every unsafe character written as \xNN, \uNNNN or \UNNNNNNNN."""
    if text.isprintable():
        return text
    return "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    number = ord(character)
    if number <= 0xFF:  # noqa: PLR2004 - the range of \xNN
        return f"\\x{number:02x}"
    if number <= 0xFFFF:  # noqa: PLR2004 - the range of \uNNNN
        return f"\\u{number:04x}"
    return f"\\U{number:08x}"
