"""The matrix products and the optimizer steps of a loop, and nothing else."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_COUNTED = {"mm", "addmm", "bmm", "_fused_adam_"}


class _Recorder(TorchDispatchMode):
    """Record matrix products and optimizer steps, with substitutes for the tensors."""

    def __init__(self):
        super().__init__()
        self.calls, self.stand_ins = [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in _COUNTED:
            with torch.utils._python_dispatch._disable_current_modes():
                own = [self.stand_in(arg, place) for place, arg in enumerate(args)]
            self.calls.append(partial(func, *own, **kwargs))
        return func(*args, **kwargs)

    def stand_in(self, arg, place):
        """Return a tensor of the same layout, one for each layout and argument."""
        if isinstance(arg, torch.Tensor):
            layout = (place, arg.shape, arg.stride(), arg.device)
            if layout not in self.stand_ins:
                empty = torch.empty_strided(
                    arg.shape, arg.stride(), dtype=arg.dtype, device=arg.device
                )
                self.stand_ins[layout] = empty.fill_(1e-3)
            return self.stand_ins[layout]
        if isinstance(arg, (list, tuple)):
            return [self.stand_in(item, (place, i)) for i, item in enumerate(arg)]
        return arg


def record(run):
    """Run a loop once; return a function that repeats the recorded calls, and them."""
    recorder = _Recorder()
    with recorder:
        run()

    def repeat():
        with torch.inference_mode():
            for call in recorder.calls:
                call()

    return repeat, recorder.calls
