"""Read the next case and write the last one while the network works on the one between."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from medseg.errors import CaseError, FormatError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Computed = TypeVar("Computed")
Written = TypeVar("Written")


@dataclass(frozen=True)
class Outcome(Generic[Item, Written]):
    """What became of one item: exactly one of ``result`` and ``error`` is set."""

    item: Item
    result: Written | None = None
    error: CaseError | FormatError | None = None


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Loaded],
    compute: Callable[[Item, Loaded], Computed],
    write: Callable[[Item, Computed], Written],
) -> Generator[Outcome[Item, Written], None, None]:
    """Take items through three steps, each step at work on another item.

    ``read`` runs in one thread, ``write`` in another, ``compute`` in the caller's. At most one item
    is read ahead and one waits to be written, so there are three in memory whatever their number.

    Parameters
    ----------
    items : iterable
    read, compute, write : callable
        A CaseError or FormatError in any of them is that item's outcome; any other error ends the
        loop where it would have given the outcome.

    Yields
    ------
    Outcome
        In the order of the items. Closing the iterator lets the write under way end.
    """
    reader = ThreadPoolExecutor(1, thread_name_prefix="medseg-read")
    writer = ThreadPoolExecutor(1, thread_name_prefix="medseg-write")
    upcoming = iter(items)
    writing: tuple[Item, Future[Written]] | None = None
    try:
        ahead = _submit(reader, read, upcoming)
        while ahead is not None:
            item, loading = ahead
            error: CaseError | FormatError | None = None
            try:
                loaded = loading.result()
                ahead = _submit(reader, read, upcoming)
                computed = compute(item, loaded)
                del loaded, loading  # else it would be held while the next one is computed
            except (CaseError, FormatError) as caught:
                error = caught
                if ahead is not None and ahead[1] is loading:
                    ahead = _submit(reader, read, upcoming)
            if writing is not None:
                yield _finish(*writing)
                writing = None
            if error is not None:
                yield Outcome(item, error=error)
            else:
                writing = (item, writer.submit(write, item, computed))
                del computed
        if writing is not None:
            yield _finish(*writing)
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
        writer.shutdown(wait=True)


def _submit(
    reader: ThreadPoolExecutor, read: Callable[[Item], Loaded], upcoming: Iterator[Item]
) -> tuple[Item, Future[Loaded]] | None:
    """Begin to read the next item, if there is one."""
    for item in upcoming:
        return item, reader.submit(read, item)
    return None


def _finish(item: Item, future: Future[Written]) -> Outcome[Item, Written]:
    """Wait until an item is written."""
    try:
        return Outcome(item, result=future.result())
    except (CaseError, FormatError) as error:
        return Outcome(item, error=error)
