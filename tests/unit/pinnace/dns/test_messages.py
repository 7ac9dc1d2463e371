"""The fields that servers read before a library does: whatever the bytes are."""

from __future__ import annotations

from hypothesis import given, strategies

from pinnace.dns import messages


@given(strategies.binary(max_size=300))
def test_no_bytes_upset_the_reader(data: bytes) -> None:
    """Whatever is read of them, and whatever answer is made."""
    code = messages.refusal(data)
    assert code is not None or messages.question(data)
    if code is None or code > 0:
        answer = messages.failure(data, messages.SERVFAIL)
        assert messages.answers(data, answer) or not messages.question(data)


def test_a_name_has_at_most_255_bytes() -> None:
    """With the length of each label and the root's."""
    for size, fits in ((61, True), (62, False)):
        name = b"".join(bytes([part]) + b"a" * part for part in (63, 63, 63, size)) + b"\0"
        query = b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"
        assert bool(messages.question(query)) is fits
