"""What a step launches."""

# SPDX-License-Identifier: BSD-3-Clause

import launches
import torch


def test_launches_of_a_step_leave_out_what_is_done_but_once():
    ones = torch.ones(3)

    def make_run(epochs):
        def run():
            ones.sin().sin().sin()  # before the first epoch
            for _ in range(epochs * 4):
                ones.exp()

        return run

    n_launches, _ = launches.per_step(make_run, 4, "cpu")
    assert n_launches == 1


def test_largest_batch_is_the_last_that_fits():
    tried = []

    def fits(batch_size, limit):
        tried.append(batch_size)
        if batch_size > limit:
            raise torch.OutOfMemoryError

    def find(limit):
        return launches.largest_batch(lambda b: fits(b, limit), 4, 64)

    assert find(20) == 16
    assert tried == [4, 8, 16, 32]
    assert find(1000) == 64
    assert find(1) is None
