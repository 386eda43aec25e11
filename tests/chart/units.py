"""Durations, sizes and quantities as numbers."""
import re

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
QUANTITY = {"": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def _number(text, units):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    return float(number) * units[unit]


def seconds(text):
    return _number(text, SECONDS)


def size(text):
    return _number(text, BYTES)


def quantity(text):
    return _number(text, QUANTITY)
