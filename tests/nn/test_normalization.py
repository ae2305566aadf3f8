"""Batch normalization with running statistics that are updated on request."""

# SPDX-License-Identifier: BSD-3-Clause

import torch

from sklearn_cmr.nn.normalization import BatchNorm, Network, make_normalized_layers


def test_batch_norm_equals_that_of_torch():
    X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    own, reference = BatchNorm(4), torch.nn.BatchNorm1d(4)
    reference.load_state_dict(own.state_dict())
    for track in (True, False, True):
        assert torch.equal(own(X, track), reference(X))
    reference.load_state_dict(own.state_dict())
    assert own.num_batches_tracked == 2
    assert torch.equal(own.eval()(X), reference.eval()(X))
    assert torch.equal(own(X, True), reference(X))


def test_a_network_updates_running_statistics_on_request():
    X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    network = Network(*make_normalized_layers([4, 3, 2], 0.1), torch.nn.Linear(2, 5))
    norms = [layer for layer in network if isinstance(layer, BatchNorm)]
    quiet = network(X)
    assert [int(norm.num_batches_tracked) for norm in norms] == [0, 0]
    assert torch.equal(network(X, track=True), quiet)
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 1]
    assert quiet.shape == (9, 5)
    alone = network.eval()(X[:1])
    torch.testing.assert_close(network(X)[:1], alone)
    assert not torch.allclose(alone, quiet[:1])


def test_groups_of_rows_are_normalized_separately():
    """In one pass, with the values and gradients of one pass for each group."""
    X = torch.randn(9, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    network = Network(*make_normalized_layers([4, 5, 3], 0.1), torch.nn.Linear(3, 2))
    parameters = list(network.double().parameters())
    together = network.forward_groups(X)
    one_by_one = torch.stack([network(group) for group in X.unbind(1)], 1)
    torch.testing.assert_close(together, one_by_one)
    torch.testing.assert_close(
        torch.autograd.grad(together.square().sum(), parameters),
        torch.autograd.grad(one_by_one.square().sum(), parameters),
    )
    norms = [layer for layer in network if isinstance(layer, BatchNorm)]
    assert [int(norm.num_batches_tracked) for norm in norms] == [0, 0]
