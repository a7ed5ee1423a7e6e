"""Encodes what a cache lacks: files are hashed and decoded by several threads while one has the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from torch import Tensor

from engine.dataset.cache import TensorCache, Tensors

T = TypeVar("T")
Rest = Callable[[], Tensors]
"""What is left to do in the thread that has the model."""
WORKERS = 4
# So many decoded pictures wait at most: at 1024 px 12 MB each.
AHEAD = 2 * WORKERS


class CachedEncoder(Generic[T]):
    """Encodes items through a TensorCache, one by one: a result depends on its item alone, not on what was missing.

    `key_of(item)` names an item's result. `begin(item)` does what needs no model, and gives what makes the tensors;
    both are called in several threads, and the rest in the caller's, in the order of the items.
    """

    def __init__(self, cache: TensorCache, key_of: Callable[[T], str], begin: Callable[[T], Rest]) -> None:
        self._cache = cache
        self._key_of = key_of
        self._begin = begin

    def ensure(self, items: Sequence[T], on_progress: Callable[[int, int], None] | None = None) -> int:
        """Encode each item that is not in the cache, once a key; how many were.

        `on_progress(done, total)` counts items, those that were there first, and may raise to leave: what was encoded
        until then stays. Errors of an item's encoding are raised where its turn comes.
        """
        with _workers() as pool:
            missing: dict[str, list[T]] = {}
            for item, key in zip(items, pool.map(self._key_of, items), strict=True):
                if key in missing or key not in self._cache:
                    missing.setdefault(key, []).append(item)
            done = len(items) - sum(map(len, missing.values()))
            if on_progress is not None:
                on_progress(done, len(items))
            for key, rest in self._begun(pool, missing):
                self._cache.put(key, rest())
                done += len(missing[key])
                if on_progress is not None:
                    on_progress(done, len(items))
            return len(missing)

    def get(self, item: T) -> dict[str, Tensor]:
        """The item's tensors, from the cache, or encoded and put there where it is missing or damaged."""
        key = self._key_of(item)
        found = self._cache.get(key)
        if found is None:
            found = {name: tensor.detach().cpu() for name, tensor in self._begin(item)().items()}
            self._cache.put(key, found)
        return found

    def peek(self, item: T) -> dict[str, Tensor] | None:
        """The item's tensors where the cache has them whole; encodes nothing. Safe in several threads."""
        return self._cache.get(self._key_of(item))

    def _begun(self, pool: ThreadPoolExecutor, missing: dict[str, list[T]]) -> Iterator[tuple[str, Rest]]:
        waiting: deque[tuple[str, Future[Rest]]] = deque()
        for key, alike in missing.items():
            waiting.append((key, pool.submit(self._begin, alike[0])))
            if len(waiting) > AHEAD:
                first, begun = waiting.popleft()
                yield first, begun.result()
        while waiting:
            first, begun = waiting.popleft()
            yield first, begun.result()


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that leave with the caller: what they have not begun is not done."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="encoding")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
