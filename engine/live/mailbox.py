"""A bounded queue between threads: the newest wins, and every drop is counted. The one place of the project that drops.

Items leave oldest first; when a put finds the box full, the oldest goes. The module knows nothing of frames or time.
"""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """At most `capacity` items. Any thread; only `get` waits."""

    def __init__(self, capacity: int = 1) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity} must be at least 1")
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._capacity = capacity
        self._closed = False
        self._woken = False
        self._drops = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def drops(self) -> int:
        """Items that left unread because a newer one came. Cleared items do not count: nobody wanted them."""
        return self._drops

    def put(self, item: T, capacity: int | None = None) -> int:
        """Add the newest item; returns how many old ones went. `capacity` resizes the box first."""
        with self._changed:
            if self._closed:
                return 0
            if capacity is not None:
                self._capacity = capacity
            self._items.append(item)
            dropped = self._trim()
            self._changed.notify()
            return dropped

    def get(self, timeout_s: float | None = None) -> T | None:
        """The oldest item, waiting for one; None after `timeout_s`, a `wake` or `close`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not self._items and not self._closed and not self._woken:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            self._woken = False
            return self._items.popleft() if self._items and not self._closed else None

    def pop(self) -> T | None:
        """The oldest item without waiting."""
        with self._changed:
            return self._items.popleft() if self._items else None

    def peek(self, position: int = 0) -> T | None:
        """The item at `position` (0 the oldest, -1 the newest), left where it is."""
        with self._changed:
            try:
                return self._items[position]
            except IndexError:
                return None

    def drop_oldest(self) -> None:
        """Give up the oldest item for the newer ones behind it."""
        with self._changed:
            if self._items:
                self._items.popleft()
                self._drops += 1

    def clear(self) -> int:
        """Forget everything, uncounted; returns how many items went."""
        with self._changed:
            n = len(self._items)
            self._items.clear()
            return n

    def wake(self) -> None:
        """Let the waiting (or the next) `get` return None, so that its thread looks around."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Every `get` returns None from now on; puts vanish."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _trim(self) -> int:
        dropped = 0
        while len(self._items) > self._capacity:
            self._items.popleft()
            dropped += 1
        self._drops += dropped
        return dropped
