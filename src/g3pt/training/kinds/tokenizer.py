"""Stage 1 as a task: occupancy and latent losses of the tokenizer (Sec. 3.2, 4.2).

Legend: B batch, N surface points, Q query points, L latents, C channels, S scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from g3pt.models.cvq import CvqConfig
from g3pt.models.flops import (
    encoder_operations,
    memory_operations,
    pyramid_operations,
    query_operations,
)
from g3pt.models.losses import (
    commitment_loss,
    consistency_loss,
    distance_loss,
    entropy_loss,
    latent_loss,
    occupancy_loss,
    truncated_distances,
)
from g3pt.models.tokenizer import DiscreteTokenizer, PyramidOutput, Tokenizer, require_tokens
from g3pt.models.tokenizers import TokenizerConfig, build_tokenizer
from g3pt.shapes.batch import TokenizerBatch
from g3pt.shapes.datasets.resident import ResidentTokenizerDataset
from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig, TokenizerDataset
from g3pt.training.config import TrainConfig
from g3pt.training.distributed import World
from g3pt.training.ingredients import PreparedShapes, check_shapes, ensure_shapes
from g3pt.training.input_checks import InputChecks
from g3pt.training.kinds.contract import ExportedSettings, RunKind, seeded, start_from
from g3pt.training.optim import AdamWConfig, OptimConfig
from g3pt.training.task import (
    DatasetsOfParts,
    Part,
    TaskOutput,
    scales_in_words,
    step_generator,
)
from g3pt.training.trained import load_tokenizer
from g3pt.training.validation import (
    ValidationConfig,
    ValidationShapes,
    load_validation,
    measure_tokenizer,
    warn_of_dying_scales,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerLossConfig:
    """Losses of stage 1, and the warm-up."""

    target: Literal["occupancy", "distance"] = "occupancy"
    """Target of the field: `occupancy` by BCE, or truncated signed `distance` by L1."""
    truncation: float = 0.1
    """Distance beyond which the distance target is flat."""
    near_weight: float = 1.0
    """Weight of the loss on near-surface queries, relative to that on volume queries."""
    latent_weight: float = 0.02
    """Weight of the decoder-side latent loss; 0 leaves the residuals without meaning."""
    variance_floor: float = 0.2
    kl_weight: float = 1e-3
    """Weight of the KL divergence, used only with a Gaussian bottleneck."""
    commitment_weight: float = 0.0
    entropy_weight: float = 0.0
    warmup_share: float = 0.25
    """Share of the run in which normalised values pass in place of signs (Sec. 4.2)."""
    scale_dropout: float = 0.0
    """Chance that a sample is decoded from its first few scales only."""
    prefix_weight: float = 0.0
    """Weight of an additional loss on a prefix of the scales, decoded as well as the full sum."""
    prefix_share: float = 0.25
    """Share of the batch that has the prefix loss."""
    consistency_weight: float = 0.0
    """Weight of the consistency of two draws of points of a shape: their bits shall agree. With it,
    a step encodes every shape twice."""
    consistency_margin: float = 0.25
    """Distance from the sign's edge at which the second draw's bits shall be, in units of the
    normalised bit features."""

    def __post_init__(self) -> None:
        for name in ("warmup_share", "scale_dropout", "prefix_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"loss.{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("consistency_weight", "consistency_margin"):
            if getattr(self, name) < 0:
                raise ValueError(f"loss.{name} must not be negative, got {getattr(self, name)}")
        if self.truncation <= 0:
            raise ValueError(f"loss.truncation must be positive, got {self.truncation}")


@dataclass(frozen=True)
class TokenizerStep:
    """A batch and the random choices that belong to it."""

    batch: TokenizerBatch
    keep_B: Tensor
    """Number of scales that each sample is decoded from."""
    prefix_B: Tensor
    """Number of scales in the additional prefix loss."""
    noise: Tensor | None = None
    """Standard normal numbers for a Gaussian bottleneck."""


class TokenizerTask:
    """Reconstruct occupancy through the quantised pyramid."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        data: TokenizerDataConfig,
        loss: TokenizerLossConfig,
        validation: ValidationConfig,
        *,
        seed: int = 0,
    ) -> None:
        """Prepare the task; nothing is read yet.

        Raises:
            ValueError: if draws are to be consistent in tokens that the tokenizer does not make.
        """
        if loss.consistency_weight:
            require_tokens(tokenizer, "loss.consistency_weight")
        self.module = tokenizer
        self._data = data
        self._loss = loss
        self._validation = validation
        self._seed = seed
        self._datasets = DatasetsOfParts(self._open_dataset, data.batch_size)
        self._shapes: ValidationShapes | None = None

    def batch(self, step: int, part: Part) -> TokenizerStep:
        """Draw shapes, points and queries, and which scales to keep."""
        return self._with_choices(self._datasets[part].batch(step), step, part)

    def _open_dataset(self, part: Part) -> TokenizerDataset | ResidentTokenizerDataset:
        shared = {"rank": part.index, "world_size": part.count, "twice": self._draws_twice}
        if not self._data.resident_points:
            return TokenizerDataset(self._data, **shared)
        device = next(self.module.parameters()).device
        return ResidentTokenizerDataset(self._data, device, **shared)

    @property
    def _draws_twice(self) -> bool:
        return self._loss.consistency_weight > 0

    def synthetic_loss(self, batch_size: int, device: torch.device | str = "cpu") -> Tensor:
        """The loss of a placeholder batch of the right sizes: a step without data."""
        return self.loss(self._synthetic_batch(batch_size, device), step=0, progress=0.999).loss

    def _synthetic_batch(self, batch_size: int, device: torch.device | str) -> TokenizerStep:
        data = self._data
        num_queries = data.num_volume_queries + data.num_near_queries
        points = torch.zeros(batch_size, data.num_points, 3, device=device)
        queries = torch.zeros(batch_size, num_queries, 3, device=device)
        near = torch.arange(num_queries, device=device) >= data.num_volume_queries
        batch = TokenizerBatch(
            points_BN3=points,
            normals_BN3=torch.ones_like(points),
            queries_BQ3=queries,
            occupancy_BQ=queries[..., 0],
            near_BQ=near.expand(batch_size, -1),
            ids=("",) * batch_size,
            again_points_BN3=points if self._draws_twice else None,
            again_normals_BN3=torch.ones_like(points) if self._draws_twice else None,
        )
        scales = torch.full((batch_size,), self.module.num_scales, device=device)
        return TokenizerStep(batch, scales, scales)

    def _with_choices(self, batch: TokenizerBatch, step: int, part: Part) -> TokenizerStep:
        size, num_scales = self._data.batch_size, self.module.num_scales
        rng = step_generator(self._seed, step, "scales")
        shorter_B = rng.integers(1, max(num_scales, 2), size)
        dropped_B = rng.random(size) < self._loss.scale_dropout
        keep_B = np.where(dropped_B, np.minimum(shorter_B, num_scales), num_scales)
        prefix_B = rng.integers(1, max(num_scales, 2), size)
        span = part.slice(size)
        return TokenizerStep(
            batch,
            torch.from_numpy(keep_B[span]),
            torch.from_numpy(prefix_B[span]),
            self._draw_noise(step, span),
        )

    def _draw_noise(self, step: int, span: slice) -> Tensor | None:
        shape = self.module.noise_shape
        if not shape:
            return None
        rng = step_generator(self._seed, step, "noise")
        whole = rng.standard_normal((self._data.batch_size, *shape), np.float32)
        return torch.from_numpy(whole[span])

    def loss(self, batch: TokenizerStep, *, step: int, progress: float) -> TaskOutput:
        """BCE on volume and near-surface queries, and the quantiser's own losses."""
        tokenizer, config, data = self.module, self._loss, batch.batch
        latents_BLC = tokenizer.encode(data.points_BN3, data.normals_BN3)
        if tokenizer.training and latents_BLC.requires_grad:  # a frozen encoder has a frozen mean
            tokenizer.track_mean(latents_BLC)
        warms_up = progress < config.warmup_share
        pyramid = tokenizer.quantize(
            latents_BLC,
            keep_B=batch.keep_B if config.scale_dropout else None,
            bypass=warms_up,
            noise=batch.noise,
        )
        memory_BLC = tokenizer.shape_memory(pyramid.summed_BLC, batch.keep_B)
        logits_BQ = tokenizer.occupancy(memory_BLC, data.queries_BQ3)
        inside_BQ = data.occupancy_BQ > 0.5
        field = self._field_loss(logits_BQ, data)
        total = field + self._quantizer_losses(pyramid, latents_BLC)
        if config.prefix_weight:
            total = total + config.prefix_weight * self._prefix_loss(batch, pyramid)
        metrics = {config.target: field, **batch_scores(logits_BQ, inside_BQ, data.near_BQ)}
        if config.consistency_weight:
            inconsistency = self._inconsistency(data, pyramid)
            total = total + config.consistency_weight * inconsistency
            metrics["inconsistency"] = inconsistency
        return TaskOutput(total, metrics, self._over(warms_up))

    def _over(self, warms_up: bool) -> str:
        """What the loss is taken over, in words; only tokens have scales."""
        if not self.module.num_bits:
            return ""
        scales = scales_in_words(self.module.num_scales, self.module.num_scales)
        return f"{scales}, not yet quantised" if warms_up else scales

    def _field_loss(self, logits_BQ: Tensor, data: TokenizerBatch) -> Tensor:
        config, inside_BQ = self._loss, data.occupancy_BQ > 0.5
        if config.target == "occupancy":
            return occupancy_loss(logits_BQ, inside_BQ, data.near_BQ, config.near_weight)
        targets_BQ = truncated_distances(
            data.queries_BQ3, data.points_BN3, data.normals_BN3, inside_BQ, config.truncation
        )
        return distance_loss(logits_BQ, targets_BQ, data.near_BQ, config.near_weight)

    def _quantizer_losses(self, pyramid: PyramidOutput, latents_BLC: Tensor) -> Tensor:
        config = self._loss
        total = latents_BLC.new_zeros(())
        if pyramid.divergence is not None:
            return total + config.kl_weight * pyramid.divergence
        if config.latent_weight:
            total = total + config.latent_weight * latent_loss(
                pyramid.prefixes, latents_BLC, variance_floor=config.variance_floor
            )
        if config.commitment_weight:
            total = total + config.commitment_weight * commitment_loss(pyramid.projected)
        if config.entropy_weight:
            total = total + config.entropy_weight * entropy_loss(pyramid.projected)
        return total

    def _inconsistency(self, data: TokenizerBatch, pyramid: PyramidOutput) -> Tensor:
        """What bits of a second draw of points lack to agree with those of the first."""
        assert isinstance(self.module, DiscreteTokenizer)
        assert data.again_points_BN3 is not None
        assert data.again_normals_BN3 is not None
        latents_BLC = self.module.encode(data.again_points_BN3, data.again_normals_BN3)
        again = self.module.project_given(latents_BLC, pyramid)
        return consistency_loss(pyramid.projected, again, self._loss.consistency_margin)

    def _prefix_loss(self, batch: TokenizerStep, pyramid: PyramidOutput) -> Tensor:
        """Occupancy loss of a random prefix, on the first rows of the batch."""
        data = batch.batch
        num = max(1, round(len(data.points_BN3) * self._loss.prefix_share))
        scales_B = batch.prefix_B[:num]
        stacked_SBLC = torch.stack([prefix[:num] for prefix in pyramid.prefixes])
        rows_B = torch.arange(num, device=scales_B.device)
        memory_BLC = self.module.shape_memory(stacked_SBLC[scales_B - 1, rows_B], scales_B)
        logits_BQ = self.module.occupancy(memory_BLC, data.queries_BQ3[:num])
        return self._field_loss(logits_BQ, data.first(num))

    def order_key(self, part: Part) -> str:
        """Hash of what the order of shapes follows from."""
        return self._datasets[part].order_key

    def sample_ids(self, batch: TokenizerStep) -> Sequence[str]:
        """Ids of the shapes."""
        return batch.batch.ids

    def evaluate(self, step: int, progress: float) -> dict[str, float]:
        """Prefix IoUs and token statistics on the validation shapes."""
        if not self._validation.shards:
            return {}
        if self._shapes is None:
            self._shapes = load_validation(self._validation, World.current())
        bypass = progress < self._loss.warmup_share
        metrics = measure_tokenizer(
            self.module, self._shapes, batch_size=self._validation.batch_size, bypass=bypass
        )
        if not bypass and self.module.num_bits:
            warn_of_dying_scales(metrics, self.module.num_scales)
        return metrics


@torch.no_grad()
def batch_scores(logits_BQ: Tensor, inside_BQ: Tensor, near_BQ: Tensor) -> dict[str, Tensor]:
    """IoU on the volume queries, mean over shapes, and accuracy on the near-surface ones."""
    predicted_BQ = logits_BQ > 0
    volume_BQ = ~near_BQ
    union = ((predicted_BQ | inside_BQ) & volume_BQ).sum(dim=1)
    both = (predicted_BQ & inside_BQ & volume_BQ).sum(dim=1)
    agrees = ((predicted_BQ == inside_BQ) & near_BQ).sum() / near_BQ.sum().clamp(min=1)
    return {"iou": (both / union.clamp(min=1)).mean(), "near_accuracy": agrees.float()}


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerRun:
    """A training of stage 1."""

    kind: Literal["tokenizer"] = "tokenizer"
    name: str = "tokenizer"
    initial: str = ""
    """Run folder, weights folder or bundled name whose weights training starts from; empty
    starts from random weights."""
    model: TokenizerConfig = field(default_factory=CvqConfig)
    trained: Literal["all", "decoder"] = "all"
    """What is trained. `decoder` leaves the tokens unchanged, so that a generator stays usable."""
    shapes: tuple[PreparedShapes, ...] = ()
    """Shapes that are prepared if missing, and read unless `data.shards` names others."""
    held_out: tuple[PreparedShapes, ...] = ()
    """Held-out shapes that are prepared if missing, and read unless `validation.shards` names
    others. At most one set is used."""
    data: TokenizerDataConfig = field(default_factory=TokenizerDataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    optim: OptimConfig = field(default_factory=AdamWConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


class TokenizerKind(RunKind[TokenizerRun]):
    """How stage 1 is trained."""

    config = TokenizerRun
    trains_tokenizer = True

    def exported_settings(self, run: TokenizerRun) -> ExportedSettings:
        """What exported weights take from the config."""
        return ExportedSettings(num_points=run.data.num_points)

    def check_inputs(self, run: TokenizerRun, checks: InputChecks) -> TokenizerRun:
        """Check weights, shapes and caches."""
        checks.weights("initial", run.initial)
        return check_shapes(run, checks, num_held_out=1)

    def complete(self, run: TokenizerRun, *, workers: int = 1) -> tuple[TokenizerRun, None]:
        """Prepare the shapes."""
        data, validation = run.data, run.validation
        if not data.shards:
            data = replace(data, shards=ensure_shapes(run.shapes, workers=workers))
        if not validation.shards and run.held_out:
            (shards, *_) = ensure_shapes(run.held_out[:1], workers=workers)
            validation = replace(validation, shards=shards)
        return replace(run, data=data, validation=validation), None

    def open(self, run: TokenizerRun, tokenizer: Tokenizer | None) -> TokenizerTask:
        """Build the tokenizer; possibly only its decoder is trained."""
        module = seeded(lambda: build_tokenizer(run.model), run.train.seed)
        if run.initial:
            start_from(module, load_tokenizer(run.initial), run.initial)
        if run.trained == "decoder":
            for part in (module.encoder, *module.bottleneck()):
                part.requires_grad_(False)
        return TokenizerTask(module, run.data, run.loss, run.validation, seed=run.train.seed)

    def open_without_data(self, run: TokenizerRun) -> TokenizerTask:
        """Build the task with real tensors: the initial queries are computed from values."""
        with unset_fake_temporarily():
            module = build_tokenizer(run.model)
        return TokenizerTask(module, run.data, run.loss, run.validation)

    def operations(self, run: TokenizerRun) -> float:
        """Operations of a step; only CVQ has a formula, for one draw of points."""
        model = run.model
        if not isinstance(model, CvqConfig):
            raise ValueError(f"there is no formula for a tokenizer of kind {model.kind}")
        num_queries = run.data.num_volume_queries + run.data.num_near_queries
        if run.loss.consistency_weight:
            raise ValueError("there is no formula for a step with two draws of points")
        step = (
            encoder_operations(model, run.data.num_points)
            + pyramid_operations(model)
            + memory_operations(model)
            + query_operations(model, num_queries)
        )
        return step.forward_and_backward


TOKENIZER = TokenizerKind()
