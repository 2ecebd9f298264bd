"""How far two evaluations of one network may lie apart on any processor, by precision and size of its sums.

Kernels sum in an order of their own: it changes with the processor, the library's version and the batch. A tolerance
read off one machine is therefore no tolerance; this one is derived.
"""

import torch
from torch import Tensor, nn

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def rounding(module: nn.Module, reference: Tensor, calls: int = 1) -> float:
    """Returns the largest |a - b| that rounding alone explains; `reference` is a or b.

    A sum of n products errs by about √n u of its size, for errors are as often up as down (Higham & Mary 2019, "A New
    Approach to Probabilistic Rounding Error Analysis", Theorem 2.4; u is half the distance from 1 to the next number).
    So do L layers, one behind the other, by √L of that, and two evaluations by twice one's. n is the network's largest
    fan-in, L the number of its layers with weights, `calls` how often it feeds itself.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, WEIGHTED)]
    assert layers, "a network without weights has no sums"
    terms = max(layer.weight[0].numel() for layer in layers)
    unit = torch.finfo(reference.dtype).eps / 2
    return 2 * unit * (terms * len(layers) * calls) ** 0.5 * float(reference.detach().abs().max())
