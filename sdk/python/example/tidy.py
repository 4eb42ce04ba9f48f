"""The example that every SDK has: see sdk/example. Knows nothing of components."""

import json
import re

import sawlog

LEVELS = {"trace": 0, "debug": 1, "info": 2, "information": 2, "notice": 3, "warn": 4, "warning": 4}
LEVELS |= {"error": 5, "err": 5, "critical": 6, "crit": 6, "fatal": 6}

LOCAL = re.compile(rb"[A-Za-z0-9._%+-]+\Z")
DOMAIN = re.compile(rb"[A-Za-z0-9-][A-Za-z0-9.-]*\.[A-Za-z]{2,}")
DIGITS = re.compile(rb"[0-9](?:[ -]?[0-9])*")


def level(word):
    """The place of a word among the levels; None if it is none."""
    return None if word is None else LEVELS.get(word.lower().decode("latin-1"))


def luhn(digits):
    total = 0
    for i, digit in enumerate(reversed(digits)):
        d = (digit - 48) * (1 + i % 2)
        total += d - 9 if d > 9 else d
    return total % 10 == 0


def email(text, start, at):
    """Where the address around the @ at `at` begins and ends."""
    local, domain = LOCAL.search(text, start, at), DOMAIN.match(text, at + 1)
    if local and domain and re.search(rb"[A-Za-z0-9]", local[0]):
        return local.start(), domain.end()
    return None


def is_letter(text, at):
    return 0 <= at < len(text) and (text[at : at + 1].isalnum())


def card(text, at):
    """Where the card number that begins at `at` ends."""
    found = DIGITS.match(text, at)
    digits = found[0].replace(b" ", b"").replace(b"-", b"")
    if 13 <= len(digits) <= 19 and not is_letter(text, found.end()) and luhn(digits):
        return found.end()
    return None


def redact(text):
    """The text without addresses and card numbers; None if there were none."""
    out, done, at = [], 0, 0
    for found in re.finditer(rb"[@0-9]", text):
        at, span, word = found.start(), None, b""
        if at < done:
            continue
        if found[0] == b"@":
            span, word = email(text, done, at), b"[email]"
        elif not is_letter(text, at - 1) and (end := card(text, at)):
            span, word = (at, end), b"[card]"
        if span:
            out += [text[done : span[0]], word]
            done = span[1]
    return b"".join(out) + text[done:] if done else None


class Tidy:
    def configure(self, config, files):
        settings = json.loads(config)
        self.least = level(settings["at_least"].encode())
        if self.least is None:
            raise ValueError(f"at_least: {settings['at_least']!r} is no level")
        self.fields, self.add = settings["fields"], settings["add"]
        return sawlog.Registration("tidy", "0.1.0", ["level"] + self.fields)

    def process(self, batch, edits):
        levels = (level(word) for word in batch.columns[0])
        edits.keep_each(found is None or found >= self.least for found in levels)
        for column, name in zip(batch.columns[1:], self.fields):
            changed = ((row, redact(text)) for row, text in column.texts())
            edits.update(name, {row: text for row, text in changed if text is not None})
        edits.set_all(self.add["name"], self.add["text"])
