"""The scales of a generation as steps on buffers that stay where they are.

That is what CUDA graphs need: a step is recorded once for each shape of a generation, and replayed
with other conditions and random numbers. Without a recording, the same steps simply run.

Legend: B batch, R rows of the generator (twice B with guidance), T tokens, S scales, L latents,
C tokenizer channels, V logits per token.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from g3pt.generation.drawing import draw_tokens
from g3pt.models.car import CacheKind, Car
from g3pt.models.conditioning.contract import ConditionOutput
from g3pt.models.sampling import ScaleSampling
from g3pt.models.teacher import ScaleInputs
from g3pt.models.tokenizer import DiscreteTokenizer

Run = Callable[[], object]


@dataclass(frozen=True)
class StepInputs:
    """All tensors that differ between two generations of one shape."""

    encoded: ConditionOutput
    """Conditions of all rows."""
    noise: tuple[Tensor, ...]
    """Uniform numbers of every scale, see `uniform_numbers`."""
    known: tuple[Tensor, ...] = ()
    """Tokens (B T) of the first scales, if they are given."""
    guess_RLC: Tensor | None = None
    """The first guess, for a generator that reads one."""

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them, in a fixed order."""
        encoded = self.encoded
        condition = encoded.tokens_BID, encoded.vector_BD, encoded.valid_BI
        return (*condition, self.guess_RLC, *self.noise, *self.known)

    def copied(self) -> "StepInputs":
        """The same in buffers of its own."""

        def copy(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.clone(memory_format=torch.contiguous_format)

        encoded = self.encoded
        return StepInputs(
            ConditionOutput(
                encoded.tokens_BID.clone(), encoded.vector_BD.clone(), copy(encoded.valid_BI)
            ),
            tuple(part.clone() for part in self.noise),
            tuple(part.clone() for part in self.known),
            copy(self.guess_RLC),
        )


class ScaleSteps:
    """The scales of one generation; `run` computes one of them, in order."""

    def __init__(
        self,
        tokenizer: DiscreteTokenizer,
        car: Car,
        settings: tuple[ScaleSampling, ...],
        inputs: StepInputs,
        *,
        cache: CacheKind = "static",
    ) -> None:
        """Lay out the buffers.

        Args:
            tokenizer: stage 1.
            car: stage 2.
            settings: of all scales.
            inputs: conditions, noise and given tokens; as many scales are run as there is noise.
            cache: how keys and values of coarser scales are kept.
        """
        self.num_scales = len(inputs.noise)
        self.inputs = inputs
        self._tokenizer, self._car, self._settings = tokenizer, car, settings
        self._cache = car.start_cache(cache, self.num_scales)
        num_shapes, device = len(inputs.noise[0]), inputs.encoded.vector_BD.device
        self._guided = len(inputs.encoded.vector_BD) > num_shapes
        lengths = car.config.scale_lengths[: self.num_scales]
        self._stops = [sum(lengths[: scale + 1]) for scale in range(self.num_scales)]
        self._indices_BT = torch.empty(
            num_shapes, self._stops[-1], dtype=torch.int64, device=device
        )
        self.nll_B = torch.zeros(num_shapes, device=device)
        """Negative log-likelihood of the scales so far, without guidance."""
        latents = num_shapes, *tokenizer.latent_mean.shape
        self.summed_BLC = torch.empty(latents, device=device)
        """Sum of the upsampled features of the scales so far."""
        self._last_BLC = torch.empty(latents, device=device)

    def indices(self, scale: int) -> Tensor:
        """Tokens (B T) of all scales up to this one."""
        return self._indices_BT[:, : self._stops[scale]]

    def run(self, scale: int) -> None:
        """Compute one scale; the one before must have been computed."""
        car, given = self._car, self.inputs
        rows = ScaleInputs(
            self._tokenizer, car.config.input_kind, len(given.encoded.vector_BD), given.guess_RLC
        )
        rows.resume(scale, self.summed_BLC, self._last_BLC)
        logits_RTV = car.forward_scale(rows.next(), scale, given.encoded, self._cache).float()
        setting = self._settings[scale]
        conditional_BTV, guided_BTV = guide(logits_RTV, setting.guidance, guided=self._guided)
        if scale < len(given.known):
            indices_BT = given.known[scale]
        else:
            indices_BT = draw_tokens(guided_BTV, given.noise[scale], setting)
        nll_B = car.losses_of_scale(conditional_BTV, indices_BT, scale).sum(dim=1)
        if scale == 0:
            self.nll_B.zero_()
        self.nll_B += nll_B
        start = self._stops[scale - 1] if scale else 0
        self._indices_BT[:, start : self._stops[scale]] = indices_BT
        rows.add(indices_BT)
        self.summed_BLC.copy_(rows.summed())
        self._last_BLC.copy_(rows.last())


def guide(logits_RTV: Tensor, guidance: float, *, guided: bool) -> tuple[Tensor, Tensor]:
    """Apply classifier-free guidance (Sec. 4.2); returns conditional and guided logits."""
    if not guided:
        return logits_RTV, logits_RTV
    conditional_BTV, null_BTV = logits_RTV.chunk(2)
    return conditional_BTV, torch.lerp(null_BTV, conditional_BTV, guidance)


# -- recordings -----------------------------------------------------------------------------------

_NUM_KEPT = 4
"""Recordings that are kept; each holds buffers and the memory of its graphs."""


class RecordedScales:
    """Recordings of the scales of generations, for the shapes that came last.

    On a GPU a recording is one CUDA graph a scale: one launch in place of thousands. Elsewhere
    there is nothing to gain, and the steps run as they are.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[ScaleSteps, list[Run]]] = OrderedDict()

    @torch.inference_mode(False)
    def prepare(
        self,
        tokenizer: DiscreteTokenizer,
        car: Car,
        settings: tuple[ScaleSampling, ...],
        inputs: StepInputs,
    ) -> tuple[ScaleSteps, list[Run]]:
        """Give steps that hold these inputs, and a call for each scale, to be made in order.

        The first generation of a shape takes three times as long. What the steps hold is
        overwritten by the next generation of that shape.
        """
        key = _shape_of(tokenizer, car, settings, inputs)
        if key in self._kept:
            self._kept.move_to_end(key)
            steps, runs = self._kept[key]
            for buffer, tensor in zip(steps.inputs.tensors(), inputs.tensors(), strict=True):
                if buffer is not None and tensor is not None:
                    buffer.copy_(tensor, non_blocking=True)
            return steps, runs
        steps = ScaleSteps(tokenizer, car, settings, inputs.copied())
        runs = _recorded(steps)
        self._kept[key] = steps, runs
        if len(self._kept) > _NUM_KEPT:
            self._kept.popitem(last=False)
        return steps, runs


def _shape_of(
    tokenizer: DiscreteTokenizer,
    car: Car,
    settings: tuple[ScaleSampling, ...],
    inputs: StepInputs,
) -> object:
    """What a recording holds for: sizes and settings, and where the weights lie in memory."""
    weights = (*tokenizer.parameters(), *tokenizer.buffers(), *car.parameters(), *car.buffers())
    places = tuple((each.data_ptr(), each.dtype, each.device) for each in weights)
    sizes = tuple(None if each is None else each.shape for each in inputs.tensors())
    return id(tokenizer), id(car), places, settings, sizes, len(inputs.known)


@torch.inference_mode(False)
@torch.no_grad()
def _run(steps: ScaleSteps, scale: int) -> None:
    """One scale, in a mode whose tensors can be overwritten in any other mode."""
    steps.run(scale)


def _recorded(steps: ScaleSteps) -> list[Run]:
    scales = [partial(_run, steps, scale) for scale in range(steps.num_scales)]
    device = steps.nll_B.device
    if device.type != "cuda":
        return list(scales)
    # Before a recording everything must have run once: kernels are loaded and buffers allocated.
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for run in scales:
            run()
    torch.cuda.current_stream(device).wait_stream(aside)
    graphs: list[Run] = []
    pool = torch.cuda.graph_pool_handle()
    for run in scales:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            run()
        graphs.append(graph.replay)
    return graphs
