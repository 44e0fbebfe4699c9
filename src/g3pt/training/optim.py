"""Optimisers, their learning-rate schedule, and the running average of the weights."""

import math
from collections.abc import Collection, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

from g3pt.arguments import check_ranges
from g3pt.training.checkpoint import CheckpointError, require_like
from g3pt.training.distributed import own_all, spread_like
from g3pt.training.muon import Muon

# One call for all tensors; torch's own optimisers are written with these.
_FOREACH_LERP = torch._foreach_lerp_  # pyright: ignore[reportPrivateImportUsage]
_FOREACH_COPY = torch._foreach_copy_  # pyright: ignore[reportPrivateImportUsage]
_FOREACH_SUB = torch._foreach_sub  # pyright: ignore[reportPrivateImportUsage]
_FOREACH_MUL = torch._foreach_mul_  # pyright: ignore[reportPrivateImportUsage]
_FOREACH_ADD = torch._foreach_add_  # pyright: ignore[reportPrivateImportUsage]


MAX_LR = 1e4
BELOW_1 = math.nextafter(1.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """Linear warm-up, then a cosine down to a share of the peak (Sec. 4.2)."""

    warmup_steps: int = 100
    final_share: float = 0.05
    """The learning rate at the end, as a share of the peak."""

    def __post_init__(self) -> None:
        check_ranges(self, "optim.schedule", warmup_steps=(0, 2**53), final_share=(0, 1))

    def factor(self, step: int, progress: float) -> float:
        """Factor of the peak learning rate.

        Args:
            step: optimiser steps done before this one.
            progress: share of the run that is over, in [0, 1].
        """
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return warm * (self.final_share + (1 - self.final_share) * cosine)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWConfig:
    """AdamW on everything; no decay on vectors (biases, norms, gains) and embeddings."""

    kind: Literal["adamw"] = "adamw"
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    """Largest norm of the whole gradient; 0 switches clipping off."""
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self) -> None:
        _check(self)


MIN_SIDE = 16
"""Shortest side of a matrix for Muon; smaller ones have too few singular values to equalise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonConfig:
    """Muon on the hidden matrices, AdamW on the rest, under one learning rate.

    Muon's update is scaled to the root mean square of an AdamW update, so that a learning
    rate found for AdamW can be used.
    """

    kind: Literal["muon"] = "muon"
    lr: float = 2e-3
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.98)
    """Betas of the AdamW part."""
    eps: float = 1e-8
    weight_decay: float = 0.01
    excluded: tuple[str, ...] = ("embed", "head", "logit", "to_bits", "from_bits")
    """Parameters with one of these in their name are trained by AdamW, as are matrices with a side
    below `MIN_SIDE`."""
    convolutions: bool = False
    """Use Muon for kernels of convolutions, too, as matrices from all inputs of a place to
    outputs."""
    clip_norm: float = 1.0
    schedule: ScheduleConfig = ScheduleConfig()

    def __post_init__(self) -> None:
        _check(self)
        check_ranges(self, "optim", momentum=(0, BELOW_1))


OptimConfig = AdamWConfig | MuonConfig


def _check(config: OptimConfig) -> None:
    """Check the fields that all optimisers have.

    Raises:
        ValueError: naming the field.
    """
    if not 0 < config.lr <= MAX_LR:
        raise ValueError(f"optim.lr must be above 0 and at most {MAX_LR}, got {config.lr}")
    check_ranges(
        config,
        "optim",
        clip_norm=(0, math.inf),
        betas=(0, BELOW_1),
        eps=(0, 1),
        weight_decay=(0, MAX_LR),
    )


STEP_SLOT = "step"
ADAMW_SLOTS = (STEP_SLOT, "exp_avg", "exp_avg_sq")
MUON_SLOTS = ("momentum_buffer",)
"""What the optimisers keep of a parameter: tensors like it, and AdamW its number of updates."""
_NOT_NEGATIVE = (f"{STEP_SLOT}/", "exp_avg_sq/")
_STEP = torch.zeros(())


class Optimizer:
    """The torch optimisers of one module behind one `step`, with their state as named tensors."""

    def __init__(self, module: nn.Module, config: OptimConfig) -> None:
        self._names: dict[Tensor, str] = {
            parameter: name
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.parameters = list(self._names)
        self._optimizers = _build(module, config)

    def step(self, lr: float, *, sound: Tensor | None = None) -> None:
        """Update the parameters from their gradients with this learning rate.

        Args:
            lr: learning rate.
            sound: whether loss and gradients are finite, on their device. If not, nothing changes;
                the host need not know. None: they are.
        """
        found_inf = None if sound is None else (~sound).float()
        for optimizer in self._optimizers:
            optimizer.found_inf = found_inf  # pyright: ignore[reportAttributeAccessIssue]
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def num_state_values(self) -> int:
        """Numbers that the state will hold once every parameter has been updated."""
        return sum(
            (1 if isinstance(optimizer, Muon) else 2) * parameter.numel()
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """The state of every parameter, keyed `slot/parameter name`."""
        return {
            f"{slot}/{self._names[parameter]}": value
            for optimizer in self._optimizers
            for parameter, slots in optimizer.state.items()
            for slot, value in slots.items()
        }

    def load_state_tensors(
        self, tensors: Mapping[str, Tensor], file: str | Path = "the checkpoint"
    ) -> None:
        """Replace the whole state by one that `state_tensors` gave.

        Args:
            tensors: the state, whole.
            file: where it comes from, named in errors.

        Raises:
            CheckpointError: if it is no state of these parameters; nothing is replaced then.
        """
        updated = {key.partition("/")[2] for key in tensors}
        require_like(tensors, self._state_like(updated), file)
        for key, value in tensors.items():
            if key.startswith(_NOT_NEGATIVE) and bool((value < 0).any()):
                raise CheckpointError(f"{file}: {key} holds negative numbers; expected none")
        by_name = {name: parameter for parameter, name in self._names.items()}
        states: dict[Tensor, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            slot, _, name = key.partition("/")
            parameter = by_name[name]
            value = value.to(parameter.device, copy=True)
            if slot != STEP_SLOT:
                value = spread_like(value, parameter)
            states.setdefault(parameter, {})[slot] = value
        for optimizer in self._optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter in states:
                        optimizer.state[parameter] = states[parameter]

    def _state_like(self, updated: Collection[str]) -> dict[str, Tensor]:
        """Tensors like those of the state once these parameters have been updated.

        The others have no state: they never had a gradient.
        """
        return {
            f"{slot}/{self._names[parameter]}": _STEP if slot == STEP_SLOT else parameter
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
            if self._names[parameter] in updated
            for slot in (MUON_SLOTS if isinstance(optimizer, Muon) else ADAMW_SLOTS)
        }


def _build(module: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    hidden: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    matrices = _weights_of(module, (nn.Linear,))
    candidates = matrices
    if isinstance(config, MuonConfig) and config.convolutions:
        candidates = matrices | _weights_of(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if (
            name in candidates
            and isinstance(config, MuonConfig)
            and _is_hidden(name, parameter, config)
        ):
            hidden.append(parameter)
        elif name in matrices or parameter.ndim > 2:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(
            torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)
        )
    match config:
        case AdamWConfig():
            pass
        case MuonConfig():
            if hidden:
                optimizers.append(
                    Muon(
                        hidden,
                        lr=config.lr,
                        momentum=config.momentum,
                        weight_decay=config.weight_decay,
                    )
                )
        case _:
            assert_never(config)
    return optimizers


def _weights_of(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> set[str]:
    return {
        f"{prefix}.weight" if prefix else "weight"
        for prefix, child in module.named_modules()
        if isinstance(child, kinds)
    }


def _is_hidden(name: str, parameter: Tensor, config: MuonConfig) -> bool:
    return min(parameter.flatten(1).shape) >= MIN_SIDE and not any(
        word in name for word in config.excluded
    )


class Ema:
    """Running average of a module's parameters; its buffers are taken as they are."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"train.ema_decay must be in [0, 1), got {decay}")
        self.decay = decay
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._names = [name for name, p in module.named_parameters() if p.requires_grad]
        self._average = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self, step: int, *, sound: Tensor | None = None) -> None:
        """Move towards the parameters after `step` steps; early averages span fewer steps.

        `sound` is as in `Optimizer.step`.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        average, parameters = own_all(self._average), own_all(self._parameters)
        if sound is None:
            _FOREACH_LERP(average, parameters, 1 - decay)
            return
        change = _FOREACH_SUB(parameters, average)
        _FOREACH_MUL(change, (1 - decay) * sound.float())
        _FOREACH_ADD(average, change)

    @contextmanager
    def applied(self):
        """Put the average into the module inside the context, then restore it bit for bit."""
        kept = [p.detach().clone() for p in self._parameters]
        self._copy(self._average)
        try:
            yield
        finally:
            self._copy(kept)

    def state_tensors(self) -> dict[str, Tensor]:
        """The average, by parameter name."""
        return dict(zip(self._names, self._average, strict=True))

    def load_state_tensors(
        self, tensors: Mapping[str, Tensor], file: str | Path = "the checkpoint"
    ) -> None:
        """Put back what `state_tensors` gave; arguments and errors as of `Optimizer`."""
        require_like(tensors, self.state_tensors(), file)
        pairs = zip(self._names, self._average, strict=True)
        loaded = [spread_like(tensors[name], average) for name, average in pairs]
        _FOREACH_COPY(own_all(self._average), own_all(loaded))

    @torch.no_grad()
    def _copy(self, tensors: list[Tensor]) -> None:
        _FOREACH_COPY(own_all(self._parameters), own_all(tensors))
