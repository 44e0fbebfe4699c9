"""What a step of a run costs, found by running it on shapes alone: no data, no arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from g3pt.models.car import Car
from g3pt.models.conditioning.efficientnet_weights import load_efficientnet
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig, CvqTokenizer
from g3pt.models.flops import (
    car_operations,
    condition_operations,
    encoder_operations,
    guess_operations,
    memory_operations,
    prefix_length,
    pyramid_operations,
    query_operations,
    teacher_operations,
)
from g3pt.models.quantizers import LfqConfig
from g3pt.models.rivals.flow import Flow
from g3pt.models.rivals.regressor import Regressor
from g3pt.models.tokenizer import Tokenizer
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.training.car_task import CarTask
from g3pt.training.flow_task import FlowTask
from g3pt.training.optim import Optimizer
from g3pt.training.recomputation import recompute_blocks, recomputed
from g3pt.training.regressor_task import RegressorTask
from g3pt.training.runs import CarRun, FlowRun, RegressorRun, Run, TokenizerRun
from g3pt.training.start import RunTask
from g3pt.training.stream_run import StreamRun
from g3pt.training.stream_task import StreamTask
from g3pt.training.tokenizer_task import TokenizerTask

FLOAT_BYTES = 4


@dataclass(frozen=True)
class RunCost:
    """Size and cost of a run."""

    parameters: int
    flops_per_step: int
    """Operations of matrix products, forward and backward, over a global batch; a multiplication
    and an addition are two. What gradient checkpointing computes twice counts twice."""
    memory_bytes: int
    """For one process: weights, their average, gradients and optimiser state, and activations
    of one slice of the batch."""
    parameters_by_part: dict[str, int]


def estimate_cost(run: Run) -> RunCost:
    """Count parameters, operations and bytes of a training step of `run` on one process."""
    _load_frozen_networks(run)
    # Fake tensors know their shape, type and device, and hold no numbers.
    with FakeTensorMode(allow_non_fake_inputs=True):
        task = open_without_data(run)
        module = task.module
        largest_block = _LargestBlock(module)
        if run.train.recompute_blocks:
            with _kept(module, run) as whole, largest_block.watched(whole):
                task.synthetic_loss(1)
            recompute_blocks(module)
        # Two shapes first: what a training computes once is not to be counted in every step.
        with _kept(module, run) as of_two:
            task.synthetic_loss(2)
        counter = flop_counter()
        with _kept(module, run) as of_one, counter:
            task.synthetic_loss(1).backward()
        state_values = Optimizer(module, run.optim).num_state_values()
    slice_size = max(1, run.data.batch_size // run.train.accumulation)
    parameters = sum(p.numel() for p in module.parameters())
    # What two shapes need more than one; the rest, such as weights in bfloat16, is there once.
    each = of_two.total - of_one.total
    activations = of_one.total + (slice_size - 1) * each + slice_size * largest_block.bytes
    return RunCost(
        parameters=parameters,
        flops_per_step=int(counter.get_total_flops()) * run.data.batch_size,
        memory_bytes=FLOAT_BYTES * (3 * parameters + state_values) + activations,
        parameters_by_part=_count_by_part(module),
    )


def _load_frozen_networks(run: Run) -> None:
    """Read what a first guess sees with while tensors are real: no file gives fake ones."""
    if isinstance(run, CarRun | StreamRun) and run.model.guess is not None:
        load_efficientnet(run.model.guess.sha256, torch.device("cpu"), torch.float32)


@contextmanager
def _kept(module: nn.Module, run: Run) -> Iterator["_SavedBytes"]:
    """Count what a step keeps for its backward pass."""
    saved = _SavedBytes(module)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=run.train.precision == "bf16")
    hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack)
    # As on a GPU, also where a CPU would write attention out, which keeps all its weights.
    fused = sdpa_kernel(SDPBackend.FLASH_ATTENTION)
    with hooks, autocast, fused:
        yield saved


def flop_counter() -> FlopCounterMode:
    """Count operations, those of the fused attention of CPUs, too, which PyTorch passes over."""

    def forward(query: Any, key: Any, *_: Any, **__: Any) -> int:
        batch, heads, num_queries, dim = query
        return 4 * batch * heads * num_queries * key[2] * dim

    def backward(_gradient: Any, query: Any, key: Any, *_: Any, **__: Any) -> int:
        # five products instead of two: the weights are computed again
        return 5 * forward(query, key) // 2

    aten = torch.ops.aten
    known = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=known)


def flops_by_formula(run: Run, batch_size: int = 1) -> float:
    """Operations of a training step of `run` on `batch_size` shapes, by `models.operations`.

    What gradient checkpointing computes twice counts once.

    Raises:
        ValueError: if a part of the run has no formula: other tokenizers than CVQ, bit flips.
    """
    match run:
        case TokenizerRun(model=CvqConfig() as model):
            num_queries = run.data.num_volume_queries + run.data.num_near_queries
            step = (
                encoder_operations(model, run.data.num_points)
                + pyramid_operations(model)
                + memory_operations(model)
                + query_operations(model, num_queries)
            )
            return batch_size * step.forward_and_backward
        case TokenizerRun():
            raise ValueError(f"there is no formula for a tokenizer of kind {run.model.kind}")
        case CarRun() | StreamRun():
            if run.loss.flip_share:
                raise ValueError("there is no formula for a step with flipped bits")
            model = run.model
            num_prefix = prefix_length(model.conditions)
            trained = (
                condition_operations(model.conditions, model.width)
                + guess_operations(model)
                + car_operations(model, num_prefix=num_prefix)
            )
            frozen = teacher_operations(cqt_config(run))
            return batch_size * (trained.forward_and_backward + frozen.forward)
        case FlowRun() | RegressorRun():
            raise ValueError(f"there is no formula for a {run.kind}")
        case _:
            assert_never(run)


def _count_by_part(module: nn.Module) -> dict[str, int]:
    counts = {
        name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()
    }
    own = sum(p.numel() for p in module.parameters(recurse=False))
    return {**counts, "own": own} if own else counts


def open_without_data(run: Run) -> RunTask:
    """The task of a run for steps on synthetic input, its weights untrained."""
    match run:
        case TokenizerRun():
            return TokenizerTask(_build_tokenizer(run.model), run.data, run.loss, run.validation)
        case FlowRun():
            return FlowTask(Flow(run.model), run.data, run.loss, run.validation)
        case RegressorRun():
            with unset_fake_temporarily():  # anchors of the decoder are computed, not drawn
                regressor = Regressor(run.model)
            return RegressorTask(regressor, run.data, run.loss, run.validation)
        case CarRun():
            return CarTask(Car(run.model), _cqt_alone(run), run.data, run.loss, run.validation)
        case StreamRun():
            only_guess = run.trained == "guess"
            car, cqt = Car(run.model), _cqt_alone(run)
            return StreamTask(car, cqt, run.data, run.loss, run.watch, only_guess=only_guess)
        case _:
            assert_never(run)


def cqt_config(run: CarRun | StreamRun) -> CvqConfig:
    """A tokenizer of the layout that the run asks for, without encoder and decoder layers."""
    return CvqConfig(
        num_latents=run.model.scale_lengths[-1],
        dim=run.model.input_dim,
        num_heads=1,
        encoder_layers=0,
        decoder_layers=0,
        cqt=CqtConfig(scale_lengths=run.model.scale_lengths),
        quantizer=LfqConfig(num_bits=run.model.num_bits),
    )


def _cqt_alone(run: CarRun | StreamRun) -> CvqTokenizer:
    config = cqt_config(run)
    with unset_fake_temporarily():
        return CvqTokenizer(config)


def _build_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Build it with real numbers: its first queries are computed, not drawn."""
    with unset_fake_temporarily():
        return build_tokenizer(config)


class _LargestBlock:
    """Bytes of the block that keeps most.

    They are there beside the inputs of all blocks while a backward pass has it run again.
    """

    def __init__(self, module: nn.Module) -> None:
        self.bytes = 0
        self._blocks = list(recomputed(module))

    @contextmanager
    def watched(self, saved: "_SavedBytes") -> Iterator[None]:
        """Look at every block that runs in the meantime."""
        before: dict[nn.Module, int] = {}

        def enter(block: nn.Module, *_: object) -> None:
            before[block] = saved.total

        def leave(block: nn.Module, *_: object) -> None:
            self.bytes = max(self.bytes, saved.total - before[block])

        handles = [block.register_forward_pre_hook(enter) for block in self._blocks]
        handles += [block.register_forward_hook(leave) for block in self._blocks]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _SavedBytes:
    """Bytes of what autograd keeps for the backward pass, parameters aside, each storage once."""

    def __init__(self, module: nn.Module) -> None:
        self.total = 0
        # Fake tensors have no address; the storage object itself tells them apart.
        self._seen = {p.untyped_storage()._cdata for p in module.parameters()}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.total += storage.nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        return tensor
