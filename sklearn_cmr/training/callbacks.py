"""Callbacks that every fit uses: early stopping, progress."""

# SPDX-License-Identifier: BSD-3-Clause

import sys
import time

from skorch.callbacks import Callback, EarlyStopping
from tqdm.auto import tqdm

# Share of the epochs between two lines of progress in a log file.
_LOG_EVERY = 0.1


def make_early_stopping(patience, tol, monitor="valid_map"):
    """Build the callback that stops on a value and brings the best weights back."""
    return EarlyStopping(
        monitor=monitor,
        patience=patience,
        threshold=tol,
        threshold_mode="abs",
        lower_is_better=monitor != "valid_map",
        load_best=True,
        sink=_silent,
    )


def _silent(text):
    """Drop the message of early stopping, which `n_iter_` and `history_` show."""


class ProgressBar(Callback):
    """Show epochs, losses, validation mAP and the time left.

    A terminal and a notebook get one moving bar, a log file a line now and then.

    Parameters
    ----------
    total : int
        Number of epochs to come.

    label : str
        What is being trained.
    """

    def __init__(self, total, label):
        self.total = total
        self.label = label

    def on_train_begin(self, net, **kwargs):
        self.done_ = self.printed_ = 0
        self.start_ = time.monotonic()
        self.bar_ = None
        if sys.stderr.isatty() or "ipykernel" in sys.modules:
            self.bar_ = tqdm(total=self.total, desc=self.label, unit="epoch")

    def leave_out(self, n_epochs):
        """Count fewer epochs to come: earlier ones are in a checkpoint."""
        self.total -= n_epochs
        if self.bar_ is not None:
            self.bar_.total = self.total
            self.bar_.refresh()

    def on_epoch_end(self, net, **kwargs):
        self.done_ += 1
        values = net.latest_values()
        self.text_ = ", ".join(f"{name}={v:.4g}" for name, v in values.items())
        if self.bar_ is not None:
            self.bar_.set_postfix_str(self.text_, refresh=False)
            self.bar_.update()
        elif self.done_ == 1 or self.done_ % self._log_every == 0:
            self._print_line()

    def on_train_end(self, net, **kwargs):
        if self.bar_ is not None:
            self.bar_.close()
        elif self.printed_ < self.done_:
            self._print_line()

    @property
    def _log_every(self):
        return max(1, round(self.total * _LOG_EVERY))

    def _print_line(self):
        self.printed_ = self.done_
        elapsed = time.monotonic() - self.start_
        line = tqdm.format_meter(
            self.done_,
            self.total,
            elapsed,
            prefix=self.label,
            unit="epoch",
            postfix=self.text_,
            ncols=0,
        )
        print(line, file=sys.stderr, flush=True)
