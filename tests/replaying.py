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

ASKING = ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "equal")


@dataclass
class Operator:
    call: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    def replay(self) -> None:
        again = self.call(*self.args, **self.kwargs)
        given = {memory(each) for each in tree_leaves((self.args, self.kwargs)) if isinstance(each, Tensor)}
        for old, new in zip(tree_leaves(self.result), tree_leaves(again), strict=True):
            if isinstance(old, Tensor) and memory(old) not in given:  # others are views of what is there
                old.copy_(new)


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


@dataclass
class Replayer:
    """A `Recorder`.

    Attributes:
        fails: so many times something cannot be recorded.
        recorded, replayed: how often.
    """

    fails: int = 0
    recorded: int = field(default=0, init=False)
    replayed: int = field(default=0, init=False)

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor] | None:
        if self.fails:
            self.fails -= 1
            return None
        self.recorded += 1
        with _Writing() as writing:
            result = call()

        def replay() -> Tensor:
            self.replayed += 1
            for operator in writing.operators:
                operator.replay()
            return result

        return replay


_Mode: Any = _python_dispatch.TorchDispatchMode


class _Writing(_Mode):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ASKING, f"{name} cannot be recorded"
        result = func(*args, **(kwargs or {}))
        self.operators.append(Operator(func, args, kwargs or {}, result))
        return result
