"""State of a phase in checkpoints: what is stored of a net, and how it comes back."""

# SPDX-License-Identifier: BSD-3-Clause

import functools
import inspect
import types

from sklearn_cmr.training.callbacks import ProgressBar
from sklearn_cmr.training.packing import pack_text, to_plain

# Where skorch has the callbacks that only show or send what they see.
_LOGGING = "skorch.callbacks.logging"
# Values that are no state: whoever makes the callback makes them, too.
_CODE = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
)


class PhaseCheckpoints:
    """Checkpoints of one phase, for its net.

    Parameters
    ----------
    checkpoints : Checkpoints

    index : int
        Number of the phase in the training.
    """

    def __init__(self, checkpoints, index):
        self.checkpoints = checkpoints
        self.index = index
        self.rows: list[str] = []

    # -- after every epoch -----------------------------------------------------

    def keep_epoch(self, net):
        """Take a checkpoint after an epoch and all of its callbacks."""
        # Earlier rows do not change any more.
        self.rows += map(pack_text, net.history[len(self.rows) :])
        state = _common_state(net, net.callbacks_) | {
            "step": net.step_,
            "optimizers": net.optimizer_.state_dict(),
        }
        self.checkpoints.keep_epoch(self.index, state, self.rows)

    def continue_epochs(self, net):
        """Bring a net to where the last checkpoint of the phase was taken, if any.

        Parameters
        ----------
        net : PairNet
            As it is before its first epoch.
        """
        for name, callback in _stored(net.callbacks_).items():
            _state_of(name, callback)  # if that is not possible, it is known now
        state, rows = self.checkpoints.read_epoch(self.index)
        if state is None:
            return
        self._restore(net, state, net.callbacks_)
        net.optimizer_.load_state_dict(state["optimizers"])
        net.step_ = state["step"]
        net.epoch_ += len(rows)
        net.history.extend(rows)
        self.rows = list(map(pack_text, rows))
        for _, callback in net.callbacks_:
            if isinstance(callback, ProgressBar):
                callback.leave_out(len(rows))

    # -- after the phase -------------------------------------------------------

    def keep_phase(self, net):
        """Take a checkpoint of a finished phase."""
        state = _common_state(net, net.added_callbacks_) | {"moments": net.moments_}
        self.checkpoints.keep_phase(
            self.index, state, list(map(pack_text, net.epochs_))
        )

    def skip_phase(self, net):
        """Leave everything as the phase has left it, if it is finished.

        Returns
        -------
        is_finished : bool
        """
        state, rows = self.checkpoints.read_phase(self.index)
        if state is None:
            return False
        net.initialize()
        self._restore(net, state, net.added_callbacks_)
        net.epochs_, net.moments_ = rows, state["moments"]
        return True

    # -- what both have --------------------------------------------------------

    def _restore(self, net, state, callbacks):
        if state["phase"] != net.phase.name:
            raise ValueError(
                f"Phase {self.index} in the folder of checkpoints is "
                f"{state['phase']!r}, that of the training is {net.phase.name!r}. "
                "Another version of the method has written it: pass another folder."
            )
        tensors = _moved_tensors(net)
        if _shapes(tensors) != _shapes(state["weights"]):
            raise ValueError(
                "The networks in the folder of checkpoints have other weights, by name "
                "or shape. Another version of the method, or of a function in "
                "encoders, has made them: pass another folder."
            )
        for name, tensor in tensors.items():
            tensor.detach().copy_(state["weights"][name])
            tensor.requires_grad_(name in state["learning"])
        for name, hook in _hooks_with_state(net.phase).items():
            hook.load_state_dict(state["hooks"][name])
        for name, callback in _stored(callbacks).items():
            _set_state(callback, state["callbacks"][name])


def _common_state(net, callbacks):
    tensors = _moved_tensors(net)
    hooks = _hooks_with_state(net.phase)
    return {
        "phase": net.phase.name,
        "weights": tensors,
        # Callbacks may freeze weights.
        "learning": [name for name, own in tensors.items() if own.requires_grad],
        "hooks": {name: hook.state_dict() for name, hook in hooks.items()},
        "callbacks": {
            name: _state_of(name, callback)
            for name, callback in _stored(callbacks).items()
        },
    }


def _moved_tensors(net):
    """Return what the players of a phase update, and all buffers, by name."""
    players = net.phase.players
    moved = dict.fromkeys(p for player in players for p in player.parameters)
    return {net.names_[p]: p for p in moved} | dict(net.module_.named_buffers())


def _shapes(tensors):
    return {name: tensor.shape for name, tensor in tensors.items()}


def _hooks_with_state(phase):
    hooks = {"begin_epoch": phase.begin_epoch, "end_epoch": phase.end_epoch}
    return {name: hook for name, hook in hooks.items() if _has_state_dict(hook)}


def _stored(callbacks):
    """Return the callbacks that have more to remember than what they have shown."""
    return {
        name: callback
        for name, callback in callbacks
        if not isinstance(callback, ProgressBar)
        and type(callback).__module__ != _LOGGING
    }


def _has_state_dict(value):
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


def _state_of(name, callback):
    """Return the state of a callback: its own `state_dict`, or its attributes.

    Of an attribute that has a `state_dict`, it is that. What the caller has passed to
    its constructor may be of any type.
    """
    if _has_state_dict(callback):
        return callback.state_dict()
    values = vars(callback)
    names = inspect.signature(type(callback)).parameters
    given = [values[name] for name in names if name in values]
    state: dict[str, dict] = {"values": {}, "parts": {}}
    for key, value in values.items():
        if isinstance(value, _CODE):
            continue
        if _has_state_dict(value):
            state["parts"][key] = value.state_dict()
            continue
        try:
            to_plain(value)
        except TypeError as error:
            if any(value is own for own in given):
                continue
            raise TypeError(
                f"The callback {name!r} cannot be stored in a checkpoint: in "
                f"its attribute {key!r}, {error}. Write the methods state_dict() and "
                "load_state_dict(state) of the callback, or fit without checkpoint."
            ) from error
        state["values"][key] = value
    return state


def _set_state(callback, state):
    if _has_state_dict(callback):
        callback.load_state_dict(state)
        return
    for key, value in state["values"].items():
        setattr(callback, key, value)
    for key, value in state["parts"].items():
        getattr(callback, key).load_state_dict(value)
