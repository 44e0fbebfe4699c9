"""What a step of a run costs, found by running it on shapes alone: no data, no arithmetic."""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils.flop_counter import FlopCounterMode

from g3pt.models.car import Car
from g3pt.models.contract import Tokenizer
from g3pt.models.cqt import CqtConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.models.tokenizer import CvqConfig, CvqTokenizer
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.training.car_task import CarTask
from g3pt.training.optim import Optimizer
from g3pt.training.runs import CarRun, Run, TokenizerRun
from g3pt.training.tokenizer_task import TokenizerTask

FLOAT_BYTES = 4


@dataclass(frozen=True)
class RunCost:
    """Size and cost of a run."""

    parameters: int
    flops_per_step: int
    """Operations of matrix products, forward and backward, over a global batch; a multiplication
    and an addition are two."""
    memory_bytes: int
    """For one process: weights, their average, gradients and optimiser state, and activations
    of one slice of the batch."""
    parameters_by_part: dict[str, int]


def estimate_cost(run: Run) -> RunCost:
    """Count parameters, operations and bytes of a training step of `run` on one process."""
    # Fake tensors know their shape, type and device, and hold no numbers.
    with FakeTensorMode(allow_non_fake_inputs=True):
        task = _open_without_data(run)
        module = task.module
        saved = _SavedBytes(module)
        counter = FlopCounterMode(display=False)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=run.train.precision == "bf16")
        hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack)
        with counter, hooks, autocast:
            task.synthetic_loss(1).backward()
        state_values = Optimizer(module, run.optim).num_state_values()
    slice_size = max(1, run.data.batch_size // run.train.accumulation)
    parameters = sum(p.numel() for p in module.parameters())
    return RunCost(
        parameters=parameters,
        flops_per_step=int(counter.get_total_flops()) * run.data.batch_size,
        memory_bytes=FLOAT_BYTES * (3 * parameters + state_values) + saved.total * slice_size,
        parameters_by_part=_count_by_part(module),
    )


def _count_by_part(module: nn.Module) -> dict[str, int]:
    counts = {
        name: sum(p.numel() for p in child.parameters()) for name, child in module.named_children()
    }
    own = sum(p.numel() for p in module.parameters(recurse=False))
    return {**counts, "own": own} if own else counts


def _open_without_data(run: Run) -> TokenizerTask | CarTask:
    match run:
        case TokenizerRun():
            return TokenizerTask(_build_tokenizer(run.model), run.data, run.loss, run.validation)
        case CarRun():
            return CarTask(Car(run.model), _cqt_alone(run), run.data, run.loss, run.validation)
        case _:
            assert_never(run)


def _cqt_alone(run: CarRun) -> CvqTokenizer:
    """A tokenizer of the layout that the run asks for, without encoder and decoder layers."""
    config = CvqConfig(
        num_latents=run.model.scale_lengths[-1],
        dim=run.model.input_dim,
        num_heads=1,
        encoder_layers=0,
        decoder_layers=0,
        cqt=CqtConfig(scale_lengths=run.model.scale_lengths),
        quantizer=LfqConfig(num_bits=run.model.num_bits),
    )
    with unset_fake_temporarily():
        return CvqTokenizer(config)


def _build_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Build it with real numbers: its first queries are computed, not drawn."""
    with unset_fake_temporarily():
        return build_tokenizer(config)


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
