"""Numbers with nouns in messages."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """`1 node`, `2 nodes`: of nouns whose plural ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
