"""Cross-modal generative adversarial networks, with the default form of the losses."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from loops.common import Means, build, device_for, seeded_generator
from sklearn_cmr.training import AnchorSampler

# The form of the training that these loops write out.
SETTINGS = {"input_dropout": 0.0, "lr_decay_every": 2}
OTHER = {"image": "text", "text": "image"}


class DrawnPairs(Dataset):
    """Draw, for every slot, a row of a random class and one without a common label."""

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
        """Draw an anchor, then other rows until one has no label in common."""
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
    """Return the learning rates of an epoch, of encoders and of discriminators."""
    decay = estimator.lr_decay ** (epoch // estimator.lr_decay_every)
    lr, lr_discriminator = estimator.lr, estimator.lr_discriminator
    return lr * decay, (lr if lr_discriminator is None else lr_discriminator) * decay


def join_first_layer(discriminator):
    """Return a discriminator of codes and features side by side, as published."""
    parts = discriminator.code_layer, discriminator.feature_layer
    n_inputs = sum(part.in_features for part in parts)
    joint = nn.Linear(n_inputs, parts[0].out_features, bias=parts[0].bias is not None)
    with torch.no_grad():
        joint.weight.copy_(torch.cat([part.weight for part in parts], 1))
        if joint.bias is not None:
            joint.bias.copy_(parts[0].bias)
    return nn.Sequential(joint, *discriminator.next_layers)


def take_apart(module):
    """Return encoders and decoders by modality, discriminators by name, and classifier.

    The names of discriminators are those of the history.
    """
    critics = {
        f"{m}_{kind}": module[f"{kind}_discriminators"][m]
        for kind in ("intra", "inter")
        for m in OTHER
    }
    encoders = {m: module["encoders"][m] for m in OTHER}
    return encoders, module["decoders"], critics, module["classifiers"]["image"]


def generator_parameters(encoders, decoders, classifier):
    """Return the parameters of the autoencoders and the classifier, each once."""
    networks = [*encoders.values(), *decoders.values(), classifier]
    return list(dict.fromkeys(p for net in networks for p in net.parameters()))


def textbook(estimator, data, epochs, order=None):
    """Train by the published schedule: every step runs all networks that it needs."""
    return textbook_training(build(estimator, data), estimator, data, epochs, order)


def textbook_training(module, estimator, data, epochs, order=None):
    """Train given networks by the published schedule."""
    inter = module["inter_discriminators"]
    for modality in OTHER:
        inter[modality] = join_first_layer(inter[modality])
    encoders, decoders, critics, classifier = take_apart(module)
    features, y = data.tensors()
    bce = F.binary_cross_entropy_with_logits
    generators = {"generator": tuple(OTHER)}
    if estimator.generator_update == "alternate":
        generators = {f"{modality}_generator": (modality,) for modality in OTHER}
    moved = {name: critic.parameters() for name, critic in critics.items()}
    for name, modalities in generators.items():
        own = [{m: nets[m] for m in modalities} for nets in (encoders, decoders)]
        moved[name] = generator_parameters(*own, classifier)
    optimizers = {
        name: torch.optim.Adam(parameters, lr=estimator.lr, betas=estimator.betas)
        for name, parameters in moved.items()
    }

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
        lr, lr_discriminator = rates(estimator, epoch)
        for name, optimizer in optimizers.items():
            rate = lr if name in generators else lr_discriminator
            optimizer.param_groups[0]["lr"] = rate
        drawn = DrawnPairs(features, y, n_slots, order and order(epoch))
        for images, texts, labels, *others in DataLoader(drawn, estimator.batch_size):
            n_rows = len(images)
            own = {"image": images, "text": texts}
            mismatched = dict(zip(OTHER, others, strict=True))
            for _ in range(estimator.n_discriminator_steps):
                for modality in ("text", "image"):
                    name = f"{modality}_intra"
                    with torch.no_grad():
                        code = encoders[modality](own[modality], True)
                        decoded = decoders[modality](code, True)
                    loss = real(critics[name](own[modality]))
                    loss = loss + fake(critics[name](decoded))
                    step(name, loss)
                    means.add(n_rows, **{f"{name}_loss": loss.item()})
                for modality in ("text", "image"):
                    name, other = f"{modality}_inter", OTHER[modality]
                    condition = own[modality]
                    with torch.no_grad():
                        code = encoders[modality](condition, True)
                        cross = encoders[other](own[other], True)
                        wrong = encoders[modality](mismatched[modality], True)
                    critic = critics[name]
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
                embedding = 0.0
                for name, modalities in generators.items():
                    loss = 0.0
                    for modality in modalities:
                        other = OTHER[modality]
                        code = encoders[modality](own[modality], True)
                        decoded = decoders[modality](code, True)
                        logits = classifier(code)
                        label = F.cross_entropy(logits, labels / labels.sum(1, True))
                        inputs = torch.cat([code, own[other]], 1)
                        adversarial = estimator.inter_adversarial_weight * real(
                            critics[f"{other}_inter"](inputs)
                        )
                        adversarial = (
                            adversarial
                            + estimator.intra_adversarial_weight
                            * real(critics[f"{modality}_intra"](decoded))
                        )
                        embedding = embedding + estimator.label_weight * label
                        loss = loss + adversarial + estimator.label_weight * label
                    step(name, loss)
                    means.add(n_rows, **{f"{name}_loss": loss.item()})
                means.add(n_rows, embedding_loss=embedding.item())
        history.append(means.compute())
    return history


def bare(estimator, data, epochs):
    """Train with vectorized draws; no network runs twice on unchanged inputs."""
    device = device_for(estimator)
    module = build(estimator, data)
    features, y = data.tensors(device)
    sampler = AnchorSampler(data.indicator, balanced=True)
    encoders, decoders, critics, classifier = take_apart(module)
    moved = {
        "discriminator": [p for net in critics.values() for p in net.parameters()],
        "generator": generator_parameters(encoders, decoders, classifier),
    }
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
        lr, lr_discriminator = rates(estimator, epoch)
        optimizers["generator"].param_groups[0]["lr"] = lr
        optimizers["discriminator"].param_groups[0]["lr"] = lr_discriminator
        generator = seeded_generator(estimator, epoch)
        batches = sampler(data.n_samples, estimator.batch_size, generator)
        for rows in batches:
            anchors, others = rows.to(device)
            n_rows, labels = len(anchors), y[anchors]
            targets = labels / labels.sum(1, keepdim=True)
            own = {name: X[anchors] for name, X in features.items()}
            with torch.no_grad():
                codes = {name: encoders[name](X) for name, X in own.items()}
                wrong = {
                    name: encoders[name](X[others]) for name, X in features.items()
                }
                decoded = {n: decoders[n](code) for n, code in codes.items()}
            # The inputs of the discriminators do not change, either.
            critic_inputs = {
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
                outputs = [
                    critics[f"{name}_intra"](pairs).squeeze(2)
                    for name, (pairs, _) in critic_inputs.items()
                ]
                for name, (_, groups) in critic_inputs.items():
                    critic = critics[f"{name}_inter"]
                    condition = critic.feature_layer(own[name]).unsqueeze(1)
                    outputs.append(critic.forward_groups(groups, condition).squeeze(2))
                losses = F.softplus(torch.cat(outputs, 1) * signs) * weights
                losses = losses.sum(0)
                step("discriminator", losses.sum())
                parts = losses.detach().split([2, 2, 3, 3])
                for name, part in zip(critics, parts, strict=True):
                    means.add(n_rows, **{f"{name}_loss": part.sum()})
            with torch.no_grad():
                hidden = {
                    n: critics[f"{n}_inter"].feature_layer(X) for n, X in own.items()
                }
            for turn in range(estimator.n_generator_steps):
                label, adversarial = 0.0, 0.0
                for modality, other in OTHER.items():
                    code = encoders[modality](own[modality], turn == 0)
                    output = decoders[modality](code, turn == 0)
                    label = label + F.cross_entropy(classifier(code), targets)
                    inter = real(critics[f"{other}_inter"](code, hidden[other]))
                    intra = real(critics[f"{modality}_intra"](output))
                    adversarial = (
                        adversarial + estimator.inter_adversarial_weight * inter
                    )
                    adversarial = (
                        adversarial + estimator.intra_adversarial_weight * intra
                    )
                embedding = estimator.label_weight * label
                loss = adversarial + embedding
                step("generator", loss)
                means.add(
                    n_rows,
                    generator_loss=loss.detach(),
                    embedding_loss=embedding.detach(),
                )
        history.append(means.compute())
    return history
