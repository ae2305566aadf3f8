"""Self-supervised adversarial hashing: the label network, then every modality."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

from loops.common import Means, build, device_for, load, seeded_generator
from sklearn_cmr.hashing._ssah.networks import LABEL

# The form of the training that these loops write out.
SETTINGS = {"input_dropout": 0.0, "balance_weight": 0.0, "adversarial_weight": 0.01}
# Rows that are encoded at once.
_CHUNK = 4096


def pair_term(own, bank, similar, balance):
    """Return the weighted mean negative log-likelihood of the similarities."""
    logits = own @ bank.T / 2
    weights = balance * similar + (1 - similar)
    losses = F.softplus(logits) - similar * logits
    return (weights * losses).sum() / weights.sum()


def textbook(estimator, data, epochs, order=None):
    """A bank of all rows, one forward for every role, default Adam."""
    module = build(estimator, data)
    label_network = module["encoders"][LABEL]
    features, y = data.tensors()
    bce = F.binary_cross_entropy_with_logits
    history = []

    def terms_of(output, labels, bank_feature, bank_code, bank_y):
        similar = (labels @ bank_y.T > 0).float()
        n_similar = similar.sum()
        balance = (similar.numel() - n_similar) / n_similar
        signs = torch.where(output.code >= 0, 1.0, -1.0)
        return {
            "feature_loss": pair_term(output.feature, bank_feature, similar, balance),
            "hash_loss": pair_term(output.code, bank_code, similar, balance),
            "quantization_loss": F.mse_loss(output.code, signs),
            "label_loss": bce(output.logits, labels),
        }

    def weighted(terms):
        weights = {
            "feature_loss": estimator.feature_weight,
            "hash_loss": estimator.hash_weight,
            "quantization_loss": estimator.quantization_weight,
            "label_loss": estimator.label_weight,
            "adversarial_loss": estimator.adversarial_weight,
        }
        return sum(weights[name] * term for name, term in terms.items())

    def encode_all(network, X):
        with torch.no_grad():
            outputs = [network.outputs(part) for part in X.split(estimator.batch_size)]
        return [torch.cat(parts) for parts in zip(*outputs, strict=True)]

    # Sorted, as `fit` has them.
    kinds = np.unique(data.indicator, axis=0, return_inverse=True)[1].reshape(-1)
    labels_sorted = y[torch.from_numpy(np.argsort(kinds, kind="stable"))]
    dataset = TensorDataset(torch.arange(data.n_samples), labels_sorted)
    optimizer = torch.optim.Adam(label_network.parameters(), lr=estimator.lr_label)
    for epoch in range(estimator.max_epochs_label):
        means = Means()
        bank_feature, bank_code, _ = encode_all(label_network, labels_sorted)
        for rows, labels in load(dataset, estimator.batch_size, order, epoch):
            output = label_network.outputs(labels)
            bank_feature[rows] = output.feature.detach()
            bank_code[rows] = output.code.detach()
            bank = bank_feature, bank_code, labels_sorted
            terms = terms_of(output, labels, *bank)
            loss = weighted(terms)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values = {name: term.item() for name, term in terms.items()}
            means.add(len(rows), train_loss=loss.item(), **values)
        history.append(means.compute())

    label_network.requires_grad_(False)
    bank_feature, bank_code, _ = encode_all(label_network, y)
    for modality, X in features.items():
        encoder = module["encoders"][modality]
        discriminator = module["discriminators"][modality]
        optimizer = torch.optim.Adam(encoder.parameters(), lr=estimator.lr)
        optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=estimator.lr)
        dataset = TensorDataset(X, y)
        for epoch in range(epochs):
            means = Means()
            for x, labels in load(dataset, estimator.batch_size, order, epoch):
                with torch.no_grad():
                    real = label_network.outputs(labels).feature
                    fake = encoder.outputs(x).feature
                on_labels = discriminator(real, None)
                on_modality = discriminator(fake, None)
                loss_d = bce(on_labels, torch.ones_like(on_labels))
                loss_d = loss_d + bce(on_modality, torch.zeros_like(on_labels))
                loss_d = loss_d / 2
                optimizer_d.zero_grad()
                loss_d.backward()
                optimizer_d.step()

                output = encoder.outputs(x)
                terms = terms_of(output, labels, bank_feature, bank_code, y)
                logits = discriminator(output.feature, None)
                terms["adversarial_loss"] = bce(logits, torch.ones_like(logits))
                loss = weighted(terms)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                values = {name: term.item() for name, term in terms.items()}
                values[f"{modality}_discriminator_loss"] = loss_d.item()
                means.add(len(x), train_loss=loss.item(), **values)
            history.append(means.compute())
    # The unified codes of the training rows.
    relaxed = encode_all(label_network, y)[1]
    for modality, X in features.items():
        relaxed = relaxed + encode_all(module["encoders"][modality], X)[1]
    relaxed.sign()
    return history


def bare(estimator, data, epochs):
    """A bank of the distinct rows of labels, no forward twice, fused Adam."""
    device = device_for(estimator)
    module = build(estimator, data)
    label_network = module["encoders"][LABEL]
    features, y = data.tensors(device)
    bce = F.binary_cross_entropy_with_logits
    history = []
    distinct, kinds, counts = y.unique(dim=0, return_inverse=True, return_counts=True)
    sorted_kinds = kinds.sort().values
    n_seen = counts.float()

    def rows_of_batches(epoch):
        generator = seeded_generator(estimator, epoch)
        order = torch.randperm(data.n_samples, generator=generator)
        return order.to(device).split(estimator.batch_size)

    def terms_of(output, labels, bank_feature, bank_code):
        similar = (labels @ distinct.T > 0).float()
        n_similar = (similar @ n_seen).sum()
        n_apart = len(labels) * data.n_samples - n_similar
        balance = n_apart / n_similar
        signs = torch.where(output.code >= 0, 1.0, -1.0)

        def pair_loss(own, bank):
            logits = own @ bank.T / 2
            loss = bce(logits, similar, n_seen, reduction="sum", pos_weight=balance)
            return loss / (2 * n_apart)

        return {
            "feature_loss": pair_loss(output.feature, bank_feature),
            "hash_loss": pair_loss(output.code, bank_code),
            "quantization_loss": F.mse_loss(output.code, signs),
            "label_loss": bce(output.logits, labels),
        }

    def weighted(terms):
        return (
            estimator.feature_weight * terms["feature_loss"]
            + estimator.hash_weight * terms["hash_loss"]
            + estimator.quantization_weight * terms["quantization_loss"]
            + estimator.label_weight * terms["label_loss"]
        )

    def step(optimizer, moved, loss):
        for parameter in moved:
            parameter.grad = None
        loss.backward(inputs=moved)
        optimizer.step()

    def record(means, n_rows, loss, terms):
        values = {name: term.detach() for name, term in terms.items()}
        means.add(n_rows, train_loss=loss.detach(), **values)

    moved = list(label_network.parameters())
    optimizer = torch.optim.Adam(moved, lr=estimator.lr_label, fused=True)
    for epoch in range(estimator.max_epochs_label):
        means = Means()
        with torch.no_grad():
            bank_feature, bank_code, _ = label_network.outputs(distinct)
        for rows in rows_of_batches(epoch):
            places = sorted_kinds[rows]
            labels = distinct[places]
            output = label_network.outputs(labels)
            bank_feature.index_copy_(0, places, output.feature.detach())
            bank_code.index_copy_(0, places, output.code.detach())
            terms = terms_of(output, labels, bank_feature, bank_code)
            loss = weighted(terms)
            step(optimizer, moved, loss)
            record(means, len(rows), loss, terms)
        history.append(means.compute())

    label_network.requires_grad_(False)
    with torch.no_grad():
        bank_feature, bank_code, _ = label_network.outputs(distinct)
    for modality, X in features.items():
        encoder = module["encoders"][modality]
        discriminator = module["discriminators"][modality]
        moved = list(encoder.parameters())
        moved_d = list(discriminator.parameters())
        optimizer = torch.optim.Adam(moved, lr=estimator.lr, fused=True)
        optimizer_d = torch.optim.Adam(moved_d, lr=estimator.lr, fused=True)
        for epoch in range(epochs):
            means = Means()
            for rows in rows_of_batches(epoch):
                labels = y[rows]
                output = encoder.outputs(X[rows])
                # The label network is frozen: its features lie in the bank.
                real, fake = bank_feature[kinds[rows]], output.feature.detach()
                logits = discriminator(torch.cat([real, fake]), None)
                is_label = torch.zeros_like(logits)
                is_label[: len(rows)] = 1
                loss_d = bce(logits, is_label)
                step(optimizer_d, moved_d, loss_d)

                terms = terms_of(output, labels, bank_feature, bank_code)
                logits = discriminator(output.feature, None)
                terms["adversarial_loss"] = F.softplus(-logits).mean()
                adversarial = estimator.adversarial_weight * terms["adversarial_loss"]
                loss = weighted(terms) + adversarial
                step(optimizer, moved, loss)
                terms[f"{modality}_discriminator_loss"] = loss_d
                record(means, len(rows), loss, terms)
            history.append(means.compute())
    with torch.inference_mode():
        relaxed = bank_code[kinds]
        for modality, X in features.items():
            encoder = module["encoders"][modality]
            parts = [encoder(part) for part in X.split(_CHUNK)]
            relaxed = relaxed + torch.cat(parts)
        relaxed.sign()
    return history
