"""Cost of a training step, measured by running it on fake tensors: no data, no arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from g3pt.models.conditioning.efficientnet_weights import load_efficientnet
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.conditioning.word_vectors import load_vectors
from g3pt.models.guess import GuessConfig
from g3pt.training.kinds.contract import SyntheticTask
from g3pt.training.optim import Optimizer
from g3pt.training.recomputation import recompute_blocks, transformer_blocks
from g3pt.training.runs import Run, kind_of

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
    batch_size = run.data.batch_size
    one = _cost_of_one(
        replace(
            run,
            name="",
            data=replace(run.data, batch_size=1, seed=0),
            train=replace(run.train, accumulation=1, slices=0, seed=0),
        )
    )
    slice_size = max(1, batch_size // run.train.pieces(1))
    activations = one.fixed_bytes + slice_size * one.bytes_per_shape
    return RunCost(
        parameters=one.parameters,
        flops_per_step=one.flops * batch_size,
        memory_bytes=FLOAT_BYTES * (3 * one.parameters + one.state_values) + activations,
        parameters_by_part=dict(one.parameters_by_part),
    )


@dataclass(frozen=True)
class _CostOfOne:
    """What a step on one shape costs."""

    parameters: int
    parameters_by_part: dict[str, int]
    state_values: int
    """Numbers that the optimiser keeps."""
    flops: int
    fixed_bytes: int
    """Bytes kept for the backward pass, however many shapes there are: weights in bfloat16."""
    bytes_per_shape: int


@lru_cache(maxsize=64)
def _cost_of_one(run: Run) -> _CostOfOne:
    """Measure a run that has no name, no seed, and batches of one shape."""
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
        # Two shapes run first, so that what training computes once is not counted in a step.
        with _kept(module, run) as of_two:
            task.synthetic_loss(2)
        counter = flop_counter()
        with _kept(module, run) as of_one, counter:
            task.synthetic_loss(1).backward()
        state_values = Optimizer(module, run.optim).num_state_values()
    per_shape = of_two.total - of_one.total
    return _CostOfOne(
        parameters=sum(p.numel() for p in module.parameters()),
        parameters_by_part=_count_by_part(module),
        state_values=state_values,
        flops=int(counter.get_total_flops()),
        fixed_bytes=of_one.total - per_shape,
        bytes_per_shape=per_shape + largest_block.bytes,
    )


def _load_frozen_networks(run: Run) -> None:
    """Load frozen networks and tables before tensors are fake, since files hold real ones."""
    device = torch.device("cpu")
    guess = getattr(run.model, "guess", None)
    if isinstance(guess, GuessConfig):
        load_efficientnet(guess.sha256, device, torch.float32)
    for condition in getattr(run.model, "conditions", ()):
        if isinstance(condition, TextConditionConfig) and condition.words == "distilled":
            load_vectors(condition.table_sha256, device, torch.float32)


@contextmanager
def _kept(module: nn.Module, run: Run) -> Iterator["_SavedBytes"]:
    """Count what a step keeps for its backward pass."""
    saved = _SavedBytes(module)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=run.train.precision == "bf16")
    hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack)
    # Attention is fused as on a GPU; otherwise a CPU might keep all attention weights.
    fused = sdpa_kernel(SDPBackend.FLASH_ATTENTION)
    with hooks, autocast, fused:
        yield saved


def flop_counter() -> FlopCounterMode:
    """A counter of operations that includes fused attention on CPUs, which PyTorch leaves out."""

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
    """Operations of a training step of `run` on `batch_size` shapes, by `models.flops`.

    What gradient checkpointing computes twice counts once.

    Raises:
        ValueError: if a part of the run has no formula: other tokenizers than CVQ, bit flips.
    """
    return batch_size * kind_of(run).operations(run)


def _count_by_part(module: nn.Module) -> dict[str, int]:
    counts = {
        name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()
    }
    own = sum(p.numel() for p in module.parameters(recurse=False))
    return {**counts, "own": own} if own else counts


def open_without_data(run: Run) -> SyntheticTask:
    """The task of a run for steps on synthetic input, its weights untrained."""
    return kind_of(run).open_without_data(run)


class _LargestBlock:
    """Bytes of the block that keeps most.

    They add to the inputs of all blocks while the backward pass runs the block again.
    """

    def __init__(self, module: nn.Module) -> None:
        self.bytes = 0
        self._blocks = list(transformer_blocks(module))

    @contextmanager
    def watched(self, saved: "_SavedBytes") -> Iterator[None]:
        """Measure every block that runs inside the context."""
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
    """Bytes that autograd keeps for the backward pass, without parameters, each storage once."""

    def __init__(self, module: nn.Module) -> None:
        self.total = 0
        # Fake tensors have no address; the storage object itself tells them apart. It is kept
        # alive, so that no later one takes its place.
        storages = [parameter.untyped_storage() for parameter in module.parameters()]
        self._seen = {storage._cdata: storage for storage in storages}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen[storage._cdata] = storage
            self.total += storage.nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        return tensor
