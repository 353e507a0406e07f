"""Work done ahead in a thread, while its user is busy with what came before."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
_WAIT_S = 0.1


@contextmanager
def ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Iterator[Item]]:
    """An iterator's items in their order, made by a thread of their own, at most `depth` before they are asked for.

    What the iterator raises is raised at the place of the item that it would have been. At the end of the context the
    thread is gone, whether all items were taken or not; it ends with the item that it is at.

    Args:
        items: iterated in another thread, so it must share nothing with the user that either changes.
        depth: items that wait, at least 1: what bounds the memory.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return waiting.put((item, error), timeout=_WAIT_S)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # its user decides
            put(None, error)

    def taken() -> Iterator[Item]:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # None only beside an error

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        yield taken()
    finally:
        stopped.set()
        maker.join()
