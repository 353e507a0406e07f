"""Work done ahead: in order, bounded, with errors in their place and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from stages.common import ahead


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_their_order() -> None:
    with ahead(iter(range(100)), depth=3) as items:
        assert list(items) == list(range(100))
    assert threads() == 0


def test_no_more_is_made_than_waits() -> None:
    made = []

    def make() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with ahead(make(), depth=2) as items:
        for number in items:
            time.sleep(0.002)
            assert len(made) <= number + 1 + 2 + 1  # taken, waiting, and one in its maker's hands


def test_they_are_made_while_their_user_is_busy() -> None:
    reached = threading.Event()

    def make() -> Iterator[int]:
        yield 0
        reached.set()
        yield 1

    with ahead(make()) as items:
        assert next(items) == 0
        assert reached.wait(10)


def test_an_error_comes_at_its_place() -> None:
    def make() -> Iterator[int]:
        yield 0
        yield 1
        raise ZeroDivisionError

    with ahead(make()) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(items)
    assert threads() == 0


def test_a_user_who_stops_leaves_no_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    def stop() -> None:
        with ahead(endless()) as items:
            raise KeyError(next(items))

    with pytest.raises(KeyError):
        stop()
    assert threads() == 0
