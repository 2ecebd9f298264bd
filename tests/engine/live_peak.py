"""The most memory that tensors made inside a block hold at once, without a GPU: counted on the meta device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LivePeak(TorchDispatchMode):
    """`peak` bytes of all storages made under this mode that were alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._known: set[int] = set()
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        old = {StorageWeakRef(tensor.untyped_storage()).cdata for tensor in given}
        made = function(*args, **(kwargs or {}))
        self._live = {key: (ref, size) for key, (ref, size) in self._live.items() if not ref.expired()}
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                ref = StorageWeakRef(storage)
                if ref.cdata not in old:  # a view of an input is nothing new
                    self._live[ref.cdata] = ref, storage.nbytes()
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return made


@contextmanager
def fused_attention() -> Iterator[None]:
    """Attention as a GPU's fused kernels do it: its output, and no matrix of queries by keys."""
    original = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = lambda query, *_, **__: torch.empty_like(query)
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = original
