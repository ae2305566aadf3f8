"""How long a training is, and its schedules relative to that."""

# SPDX-License-Identifier: BSD-3-Clause

import contextlib
import io

import pytest

from sklearn_cmr import AADAHHasher, CMGANProjector, SSAHHasher
from tests.base.methods import A, B, each_method, make, y


def n_epochs_of(est):
    """Return the number of epochs of every phase."""
    phases = [row.get("phase", "") for row in est.history_]
    return [phases.count(phase) for phase in dict.fromkeys(phases)]


@each_method
def test_few_rows_get_as_many_epochs_as_the_updates_take(cls):
    # 60 rows in batches of 30.
    est = make(cls, max_epochs="auto", min_updates=25).fit(A, B, y)
    assert set(n_epochs_of(est)) <= {13, 3}  # 3: epochs of the label network
    assert 13 in n_epochs_of(est)


@each_method
def test_an_epoch_is_at_least_passed_ten_times(cls):
    est = make(cls, max_epochs="auto", min_updates=0, batch_size=20).fit(A, B, y)
    assert 10 in n_epochs_of(est)


@each_method
def test_a_number_of_epochs_is_exact(cls):
    est = make(cls, max_epochs=2, min_updates=1000).fit(A, B, y)
    assert set(n_epochs_of(est)) <= {2, 3}
    assert est.n_iter_ == sum(n_epochs_of(est))


@each_method
def test_the_default_length_counts_in_updates(cls):
    assert cls().max_epochs == "auto"
    assert cls().min_updates >= 300


@each_method
def test_the_progress_bar_knows_the_length(cls):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
        make(cls, max_epochs="auto", min_updates=25, verbose=1).fit(A, B, y)
    assert "13/13" in err.getvalue()


@each_method
@pytest.mark.parametrize("value", ["Auto", 0, -1, 2.5, None])
def test_other_lengths_are_refused(cls, value):
    with pytest.raises(ValueError, match="'max_epochs' parameter"):
        make(cls, max_epochs=value).fit(A, B, y)


@each_method
def test_the_patience_is_a_share_of_the_length(cls):
    est = make(cls, early_stopping=True)
    assert est.n_iter_no_change is None
    assert est._count_patience(60) == 20
    assert est._count_patience(12) == 10
    assert est.set_params(n_iter_no_change=3)._count_patience(60) == 3


@pytest.mark.parametrize("cls", [CMGANProjector, SSAHHasher, AADAHHasher])
@pytest.mark.parametrize(
    ("n_epochs", "every", "halvings"),
    [
        (10, None, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (3, None, [0, 1, 2]),
        (4, 2, [0, 0, 1, 1]),
    ],
)
def test_the_decay_is_relative_to_the_length(cls, n_epochs, every, halvings):
    lr = make(cls, lr_decay=0.5, lr_decay_every=every)._decayed(8.0, n_epochs)
    assert [lr(epoch) for epoch in range(n_epochs)] == [8 / 2**n for n in halvings]


@pytest.mark.parametrize("cls", [CMGANProjector, AADAHHasher])
def test_a_last_batch_that_is_merged_is_not_counted(cls):
    est = make(cls, max_epochs="auto", min_updates=25, batch_size=59)
    if cls is CMGANProjector:
        est.set_params(sampler="shuffle")
    assert est.fit(A, B, y).n_iter_ == 25  # 60 rows are one batch


@pytest.mark.parametrize("cls", [CMGANProjector, SSAHHasher, AADAHHasher])
def test_warm_starts_keep_the_last_rate(cls):
    lr = make(cls, lr_decay=0.5)._decayed(1.0, n_epochs=10)
    assert lr(9) == lr(10) == lr(1000) == 0.5**4
