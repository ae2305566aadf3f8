"""Training of a module through the phases of a method."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.training.devices import device_of, standard_settings, threads_for
from sklearn_cmr.training.net import PairNet
from sklearn_cmr.training.resume import PhaseCheckpoints


class Trainer:
    """Train a module through phases, each on a skorch net of its own.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.

    seed : int, default=0
        Fixes the order of the batches and the numbers that losses draw.

    history : sequence of dict, default=()
        Finished epochs of earlier trainings, which this one continues.

    moments : dict, default=None
        Adam's moments of earlier trainings, by player and name of the parameter.

    keep_moments : bool, default=True
        Whether the moments outlive their phase: for players of a later phase, and for
        later trainings.

    callbacks : list, default=None
        Callbacks of skorch, or pairs of a name and one. Every phase gets copies.

    checkpoints : Checkpoints, default=None
        Open folder that the training is stored in, and continued from. Finished phases
        are not trained again.

    **options : dict
        Further parameters of :class:`~sklearn_cmr.training.net.PairNet`: `tol`,
        `label`, `encode`, `verbose`.

    Attributes
    ----------
    history : list of dict
        Finished epochs, with those of earlier trainings.

    n_finished : int
        Number of epochs that this training has finished, with those that it has
        continued from.

    moments : dict
        Adam's moments after the last finished epochs.

    callbacks_ : list of tuple
        Names and copies of the callbacks, with what they recorded. Where phases have
        names, that of the phase comes first: ``"image__EpochScoring"``.
    """

    def __init__(
        self,
        module,
        *,
        seed=0,
        history=(),
        moments=None,
        keep_moments=True,
        callbacks=None,
        checkpoints=None,
        **options,
    ):
        self.module = module
        self.seed = seed
        self.history = list(history)
        self.n_finished = 0
        self.moments = dict(moments or {})
        self.keep_moments = keep_moments
        self.callbacks = callbacks
        self.checkpoints = checkpoints
        self.callbacks_: list[tuple] = []
        self.options = options

    def fit(self, phases):
        """Train through all phases.

        Parameters
        ----------
        phases : iterable of Phase
            It may be a generator: code after a ``yield`` sees the module as that phase
            has left it.

        Returns
        -------
        self : Trainer
            The same trainer, with the history of these phases.
        """
        device = device_of(self.module)
        try:
            with standard_settings(device.type):
                for index, phase in enumerate(phases):
                    self._run(index, phase, device)
        finally:
            self.module.eval()
        return self

    def _run(self, index, phase, device):
        checkpoints = None
        if self.checkpoints is not None:
            checkpoints = PhaseCheckpoints(self.checkpoints, index)
        net = PairNet(
            self.module,
            phase,
            seed=self.seed,
            first_epoch=sum(r.get("phase", "") == phase.name for r in self.history),
            n_epochs_before=len(self.history),
            moments=self.moments,
            keep_moments=self.keep_moments,
            callbacks=self.callbacks,
            device=str(device),
            checkpoints=checkpoints,
            **self.options,
        )
        net.epochs_, net.moments_, net.added_callbacks_ = [], {}, []
        try:
            if checkpoints is None or not checkpoints.skip_phase(net):
                with threads_for(phase.n_multiply_adds):
                    net.run()
                if checkpoints is not None:
                    checkpoints.keep_phase(net)
        finally:
            self.history += net.epochs_
            self.n_finished += len(net.epochs_)
            self.moments |= net.moments_
            prefix = f"{phase.name}__" if phase.name else ""
            self.callbacks_ += [
                (prefix + name, callback) for name, callback in net.added_callbacks_
            ]
