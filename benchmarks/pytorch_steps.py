"""Takes training steps with plain PyTorch, for comparison; started by training_step.py.

The same layers in the same order as `crnn_captcha.training.model` builds for Keras, but that the
strided shortcuts of residual blocks don't average first: PyTorch has a little less to do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from workers import serve

Strides = int | tuple[int, int]


class Network(nn.Module):  # type: ignore[misc]
    """The twin of a Keras network.

    Args:
        model: `ModelConfig` as a dict.
        images: uint8 (batch, width, height, channels), of the size that will come.
        num_classes: characters and the blank.
    """

    def __init__(self, model: dict[str, Any], images: Any, num_classes: int) -> None:
        super().__init__()
        _, _, height, channels = images.shape
        self.backbone = BACKBONES[model["backbone"]](channels, height, model["filters"])
        size = features = self.features(images[:1]).shape[2]
        self.context = nn.Linear(size, size) if model["context"] else None
        self.lstms = nn.ModuleList()
        for units in model["units"]:
            self.lstms.append(nn.LSTM(size, units, batch_first=True, bidirectional=True))
            size = 2 * units
        self.dropout = nn.Dropout(model["dropout"])
        self.logits = nn.Linear(size, num_classes)
        self.shortcut = nn.Linear(features, num_classes) if model["ctc_shortcut"] else None

    def features(self, images: Any) -> Any:
        """Of the backbone."""
        x = images.permute(0, 3, 1, 2).float() / 255  # (batch, channels, width, height)
        x = self.backbone(x).permute(0, 2, 3, 1)
        return x.flatten(2)  # (batch, time_steps, features)

    def forward(self, images: Any) -> list[Any]:
        """Logits of the head and, if there is one, of the CTC shortcut."""
        x = self.features(images)
        if self.context is not None:
            x = x + self.context(x.mean(1, keepdim=True))
        features = x
        for lstm in self.lstms:
            x, _ = lstm(self.dropout(x))
        logits = [self.logits(x)]
        return logits if self.shortcut is None else [*logits, self.shortcut(features)]


def vgg(channels: int, height: int, filters: Sequence[int]) -> Any:
    """Convolution, pooling, normalisation and ReLU for each of the filters."""
    layers: list[Any] = []
    for before, after in zip([channels, *filters], filters, strict=False):
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
        layers += [nn.MaxPool2d(2), normalisation(after), nn.ReLU()]
    return nn.Sequential(*layers)


def resnet(channels: int, height: int, filters: Sequence[int]) -> Any:
    """A strided stem, residual blocks, and a convolution over all of the height."""
    stem = [convolution(channels, filters[0], 3, 2), nn.ReLU()]
    return residual(stem, height, filters)


def resnet_fine(channels: int, height: int, filters: Sequence[int]) -> Any:
    """The same with a stem that sees every pixel and then pools."""
    stem = [convolution(channels, filters[0], 3, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return residual(stem, height, filters)


def residual(layers: list[Any], height: int, filters: Sequence[int]) -> Any:
    """The blocks behind a stem, and the convolution over all of the height."""
    stem, *blocks, last = filters
    before, height = stem, -(-height // 2)
    for i, after in enumerate(blocks):
        strides: Strides = {1: 2, 2: (1, 2)}.get(i, 1)  # type: ignore[assignment]
        height = height if strides == 1 else -(-height // 2)
        layers.append(Block(before, after, strides))
        before = after
    layers += [nn.Conv2d(before, last, (1, height), bias=False), normalisation(last), nn.ReLU()]
    return nn.Sequential(*layers)


class Block(nn.Module):  # type: ignore[misc]
    """Two 3x3 convolutions beside a 1x1 convolution."""

    def __init__(self, before: int, after: int, strides: Strides) -> None:
        super().__init__()
        first = convolution(before, after, 3, strides)
        self.branch = nn.Sequential(first, nn.ReLU(), convolution(after, after, 3, 1))
        self.shortcut = convolution(before, after, 1, strides)

    def forward(self, x: Any) -> Any:
        """Their sum, at least 0."""
        return nn.functional.relu(self.branch(x) + self.shortcut(x))


def convolution(before: int, after: int, size: int, strides: Strides) -> Any:
    """Convolution and normalisation."""
    layer = nn.Conv2d(before, after, size, strides, padding=size // 2, bias=False)
    return nn.Sequential(layer, normalisation(after))


def normalisation(channels: int) -> Any:
    """With the constants that are Keras' defaults."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


BACKBONES = {"vgg": vgg, "resnet": resnet, "resnet_fine": resnet_fine}


class Trainer:
    """Takes steps on one batch, always the same."""

    def __init__(self, description: dict[str, Any], images: Any, labels: Any) -> None:
        model, self.optimizer_config = description["model"], description["optimizer"]
        self.images, self.labels = images, labels
        self.network = Network(model, images, description["num_classes"])
        self.loss_weights = [1.0, model["ctc_shortcut"]]
        self.loss = nn.CTCLoss(blank=0, reduction="sum")
        rate, decay = self.optimizer_config["learning_rate"], self.optimizer_config["weight_decay"]
        parameters = self.network.parameters()
        self.optimizer = (
            torch.optim.AdamW(parameters, rate, weight_decay=decay)
            if self.optimizer_config["name"] == "adamw"
            else torch.optim.Adam(parameters, rate)
        )

    def step(self) -> float:
        """Forward, CTC loss, backward, update. Returns the loss."""
        self.optimizer.zero_grad()
        loss = sum(
            weight * self.ctc_loss(logits)
            for weight, logits in zip(self.loss_weights, self.network(self.images), strict=False)
        )
        loss.backward()
        if clip_norm := self.optimizer_config["clip_norm"]:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        self.optimizer.step()
        return float(loss.detach())

    def ctc_loss(self, logits: Any) -> Any:
        """The mean over the batch, as Keras takes it."""
        batch, time_steps, _ = logits.shape
        label_lengths = (self.labels != 0).sum(1)
        scores = logits.log_softmax(2).transpose(0, 1)  # (time_steps, batch, num_classes)
        all_steps = torch.full((batch,), time_steps)
        return self.loss(scores, self.labels, all_steps, label_lengths) / batch


def main() -> None:
    """Takes steps on the batch and with the network in a folder."""
    threads, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(threads)
    torch.manual_seed(0)
    description = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    with np.load(folder / "batch.npz") as batch:
        images, labels = torch.from_numpy(batch["images"]), torch.from_numpy(batch["labels"])
    trainer = Trainer(description, images, labels)
    parameters = dict(trainer.network.named_parameters())
    facts = {
        "name": f"PyTorch {torch.__version__}",
        "weights": sum(parameter.numel() for parameter in parameters.values()),
        # An LSTM has two biases here, which are added up; one in Keras.
        "second_biases": sum(p.numel() for name, p in parameters.items() if "bias_hh" in name),
        "images": tuple(images.shape),
    }
    serve(trainer.step, facts)


if __name__ == "__main__":
    main()
