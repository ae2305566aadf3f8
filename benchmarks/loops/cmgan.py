"""Cross-modal generative adversarial networks, with the default form of the losses."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from loops.common import Means, build, device_for, seeded_generator
from sklearn_cmr.training.anchors import AnchorSampler

OTHER = {"image": "text", "text": "image"}


class DrawnPairs(Dataset):
    """A class, one of its rows and a row without a common label for every slot."""

    def __init__(self, features, y, n_slots, rows=None):
        self.features, self.y, self.n_slots, self.rows = features, y, n_slots, rows
        labels = y.numpy()
        self.members = [np.flatnonzero(column) for column in labels.T]
        self.apart = labels @ labels.T == 0
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return self.n_slots

    def __getitem__(self, slot):
        anchor, other = self.draw() if self.rows is None else self.rows[:, slot]
        return (
            self.features["image"][anchor],
            self.features["text"][anchor],
            self.y[anchor],
            self.features["image"][other],
            self.features["text"][other],
        )

    def draw(self):
        """Draw an anchor, and others until one fits."""
        anchor = self.draw_row()
        while not self.apart[anchor, other := self.draw_row()]:
            pass
        return anchor, other

    def draw_row(self):
        """Draw a class, then a row of it."""
        return self.rng.choice(self.members[self.rng.integers(len(self.members))])


def anchor_rows(estimator, data, epoch):
    """Return the anchors and mismatched rows that `fit` draws, of shape (2, n)."""
    generator = seeded_generator(estimator, epoch)
    sampler = AnchorSampler(data.indicator, balanced=True)
    batches = sampler(data.n_samples, estimator.batch_size, generator)
    return torch.cat(list(batches), dim=1)


def rates(estimator, epoch):
    """Return the learning rate of an epoch."""
    return estimator.lr * estimator.lr_decay ** (epoch // estimator.lr_decay_every)


def join_first_layer(discriminator):
    """Return a discriminator of codes and features side by side, as published."""
    parts = discriminator.of_code, discriminator.of_features
    n_inputs = sum(part.in_features for part in parts)
    joint = nn.Linear(n_inputs, parts[0].out_features, bias=parts[0].bias is not None)
    with torch.no_grad():
        joint.weight.copy_(torch.cat([part.weight for part in parts], 1))
        if joint.bias is not None:
            joint.bias.copy_(parts[0].bias)
    return nn.Sequential(joint, *discriminator.others)


def textbook(estimator, data, epochs, order=None):
    """The published schedule: every step runs the networks that it needs anew."""
    module = build(estimator, data)
    for modality in OTHER:
        name = f"{modality}_inter"
        module[name] = join_first_layer(module[name])
    features, y = data.tensors()
    bce = F.binary_cross_entropy_with_logits
    discriminators = [f"{m}_{kind}" for kind in ("intra", "inter") for m in OTHER]
    optimizers = {
        name: torch.optim.Adam(
            module[name].parameters(), lr=estimator.lr, betas=estimator.betas
        )
        for name in discriminators
    }
    names = ["image", "text", "image_decoder", "text_decoder", "classifier"]
    # The encoders share a layer.
    moved = dict.fromkeys(p for name in names for p in module[name].parameters())
    optimizers["generator"] = torch.optim.Adam(
        list(moved), lr=estimator.lr, betas=estimator.betas
    )

    def real(logits):
        return bce(logits, torch.ones_like(logits))

    def fake(logits):
        return bce(logits, torch.zeros_like(logits))

    def step(name, loss):
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()

    n_slots = -(-data.n_samples // estimator.batch_size) * estimator.batch_size
    history = []
    for epoch in range(epochs):
        means = Means()
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = rates(estimator, epoch)
        drawn = DrawnPairs(features, y, n_slots, order and order(epoch))
        for images, texts, labels, *others in DataLoader(drawn, estimator.batch_size):
            n_rows = len(images)
            own = {"image": images, "text": texts}
            mismatched = dict(zip(OTHER, others, strict=True))
            for _ in range(estimator.n_discriminator_steps):
                for modality in ("text", "image"):
                    name = f"{modality}_intra"
                    with torch.no_grad():
                        code = module[modality](own[modality], True)
                        decoded = module[f"{modality}_decoder"](code, True)
                    loss = real(module[name](own[modality]))
                    loss = loss + fake(module[name](decoded))
                    step(name, loss)
                    means.add(n_rows, **{f"{name}_loss": loss.item()})
                for modality in ("text", "image"):
                    name, other = f"{modality}_inter", OTHER[modality]
                    condition = own[modality]
                    with torch.no_grad():
                        code = module[modality](condition, True)
                        cross = module[other](own[other], True)
                        wrong = module[modality](mismatched[modality], True)
                    critic = module[name]
                    loss = estimator.real_weight * real(
                        critic(torch.cat([code, condition], 1))
                    )
                    loss = loss + estimator.cross_weight * fake(
                        critic(torch.cat([cross, condition], 1))
                    )
                    loss = loss + estimator.mismatch_weight * fake(
                        critic(torch.cat([wrong, condition], 1))
                    )
                    step(name, loss)
                    means.add(n_rows, **{f"{name}_loss": loss.item()})
            for _ in range(estimator.n_generator_steps):
                loss, embedding = 0.0, 0.0
                for modality, other in OTHER.items():
                    code = module[modality](own[modality], True)
                    decoded = module[f"{modality}_decoder"](code, True)
                    logits = module["classifier"](code)
                    label = F.cross_entropy(logits, labels / labels.sum(1, True))
                    posing = torch.cat([code, own[other]], 1)
                    game = estimator.inter_weight * real(
                        module[f"{other}_inter"](posing)
                    )
                    game = game + estimator.intra_weight * real(
                        module[f"{modality}_intra"](decoded)
                    )
                    embedding = embedding + estimator.label_weight * label
                    loss = loss + game + estimator.label_weight * label
                step("generator", loss)
                means.add(
                    n_rows,
                    generator_loss=loss.item(),
                    embedding_loss=embedding.item(),
                )
        history.append(means.compute())
    return history


def bare(estimator, data, epochs):
    """Vectorised draws; no network runs twice on what has not changed."""
    device = device_for(estimator)
    module = build(estimator, data)
    features, y = data.tensors(device)
    sampler = AnchorSampler(data.indicator, balanced=True)
    discriminators = [f"{m}_{kind}" for kind in ("intra", "inter") for m in OTHER]
    moved = {
        "discriminator": [
            p for name in discriminators for p in module[name].parameters()
        ]
    }
    names = ["image", "text", "image_decoder", "text_decoder", "classifier"]
    shared = dict.fromkeys(p for name in names for p in module[name].parameters())
    moved["generator"] = list(shared)
    optimizers = {
        name: torch.optim.Adam(
            parameters, lr=estimator.lr, betas=estimator.betas, fused=True
        )
        for name, parameters in moved.items()
    }
    kinds = (estimator.real_weight, estimator.cross_weight, estimator.mismatch_weight)

    def real(logits):
        return F.softplus(-logits).mean()

    def step(name, loss):
        for parameter in moved[name]:
            parameter.grad = None
        loss.backward(inputs=moved[name])
        optimizers[name].step()

    history = []
    for epoch in range(epochs):
        means = Means()
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = rates(estimator, epoch)
        generator = seeded_generator(estimator, epoch)
        batches = sampler(data.n_samples, estimator.batch_size, generator)
        for rows in batches:
            anchors, others = rows.to(device)
            n_rows, labels = len(anchors), y[anchors]
            targets = labels / labels.sum(1, keepdim=True)
            own = {name: X[anchors] for name, X in features.items()}
            with torch.no_grad():
                codes = {name: module[name](X) for name, X in own.items()}
                wrong = {name: module[name](X[others]) for name, X in features.items()}
                decoded = {n: module[f"{n}_decoder"](code) for n, code in codes.items()}
            # What discriminators are shown stays the same, too.
            shown = {
                name: (
                    torch.stack([X, decoded[name]], 1),
                    torch.stack([codes[name], codes[OTHER[name]], wrong[name]], 1),
                )
                for name, X in own.items()
            }
            signs = torch.tensor([[-1.0, 1, -1, 1, -1, 1, 1, -1, 1, 1]], device=device)
            weights = torch.tensor([[1.0] * 4 + [*kinds, *kinds]], device=device)
            weights /= n_rows
            for _ in range(estimator.n_discriminator_steps):
                verdicts = [
                    module[f"{name}_intra"](pairs).squeeze(2)
                    for name, (pairs, _) in shown.items()
                ]
                for name, (_, seen) in shown.items():
                    critic = module[f"{name}_inter"]
                    condition = critic.of_features(own[name]).unsqueeze(1)
                    verdicts.append(critic.forward_apart(seen, condition).squeeze(2))
                losses = F.softplus(torch.cat(verdicts, 1) * signs) * weights
                losses = losses.sum(0)
                step("discriminator", losses.sum())
                parts = losses.detach().split([2, 2, 3, 3])
                for name, part in zip(discriminators, parts, strict=True):
                    means.add(n_rows, **{f"{name}_loss": part.sum()})
            with torch.no_grad():
                seen = {n: module[f"{n}_inter"].of_features(X) for n, X in own.items()}
            for turn in range(estimator.n_generator_steps):
                label, game = 0.0, 0.0
                for modality, other in OTHER.items():
                    code = module[modality](own[modality], turn == 0)
                    output = module[f"{modality}_decoder"](code, turn == 0)
                    label = label + F.cross_entropy(module["classifier"](code), targets)
                    inter = real(module[f"{other}_inter"](code, seen[other]))
                    intra = real(module[f"{modality}_intra"](output))
                    game = game + estimator.inter_weight * inter
                    game = game + estimator.intra_weight * intra
                embedding = estimator.label_weight * label
                loss = game + embedding
                step("generator", loss)
                means.add(
                    n_rows,
                    generator_loss=loss.detach(),
                    embedding_loss=embedding.detach(),
                )
        history.append(means.compute())
    return history
