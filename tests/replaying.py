"""What a CUDA graph does, on any device: operators are written down with their memory, and called again.

As with a graph, nothing of what lies between them happens again: a length that Python knew stays what it was, and what
asks the device for a number is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _python_dispatch
from torch.utils._pytree import tree_leaves

ASKING = ("_local_scalar_dense", "nonzero", "lift_fresh", "equal", "masked_select", "_unique2", "repeat_interleave")


@dataclass
class Operator:
    call: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    def replay(self) -> None:
        again = self.call(*self.args, **self.kwargs)
        made = {memory(each) for each in self.made()}
        for old, new in zip(tree_leaves(self.result), tree_leaves(again), strict=True):
            if isinstance(old, Tensor) and memory(old) in made:  # others are views of what is there
                old.copy_(new)

    def made(self) -> list[Tensor]:
        """Results that are not views of what was given."""
        given = {memory(each) for each in tree_leaves((self.args, self.kwargs)) if isinstance(each, Tensor)}
        results = [each for each in tree_leaves(self.result) if isinstance(each, Tensor)]
        return [each for each in results if memory(each) not in given]


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


@dataclass
class Replayer:
    """A `Recorder`.

    Attributes:
        fails: so many times something cannot be recorded.
        calls: what cannot be recorded is called, as where a GPU fails to record; else recording has been given up.
        recorded, replayed: how often.
    """

    fails: int = 0
    calls: bool = False
    recorded: int = field(default=0, init=False)
    replayed: int = field(default=0, init=False)

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        if self.fails:
            self.fails -= 1
            if self.calls:
                call()
            return None
        self.recorded += 1
        with _Writing() as writing:
            result = call()

        def replay() -> Tensor:
            self.replayed += 1
            for operator in writing.operators:
                operator.replay()
            for each in (made for operator in writing.operators for made in operator.made()):
                if each.is_floating_point() and each.layout == torch.strided:
                    each.fill_(torch.nan)  # the memory between is shared with other graphs
            return result

        return replay


_Mode: Any = _python_dispatch.TorchDispatchMode


class _Writing(_Mode):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        flags = [each for each in tree_leaves(args) if isinstance(each, Tensor) and each.dtype == torch.bool]
        assert name not in ASKING, f"{name} cannot be recorded"
        assert not (name.startswith("index") and flags), "the number of flags would have to be known"
        result = func(*args, **(kwargs or {}))
        self.operators.append(Operator(func, args, kwargs or {}, result))
        return result
