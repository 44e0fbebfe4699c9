"""The table `unseen`: which data and which parts help a generator with kinds it never saw.

Small generators of the first scales of the bundled tokenizer are trained on selections of the same
recordings, measured by the three yardsticks (`unseen_series`) and put side by side
(`unseen_report`). Rows are in order of importance: a table can be read before it is complete.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never

from g3pt.models.car import CarConfig
from g3pt.models.conditioning import PretrainedImageConditionConfig
from g3pt.models.guess import GuessConfig
from g3pt.recipes.pools import Pool, PoolName, smoke_pools, spread_families, toy_pools
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import Selection
from g3pt.training.config import TrainConfig
from g3pt.training.kinds.stream import StreamRun
from g3pt.training.next_scale import CarLossConfig
from g3pt.training.optim import MuonConfig, ScheduleConfig

NAME = "unseen"
_FITTED = (0.03, 0.08, 0.14)
"""Temperatures of soft targets that fit how draws of 2,048 points differ."""
GuessKind = Literal["none", "features", "field"]
UnseenScale = Literal["smoke", "toy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A part of what a row learns from."""

    pool: PoolName
    num: int
    """Examples; 0 is all that the pool is to hold."""
    num_families: int = 0
    """Of so many families alone; 0 is any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnseenRow:
    """A row: what data is learnt from, and by which model."""

    name: str
    label: str
    shares: tuple[Share, ...]
    guess: GuessKind = "none"
    features: Literal["own", "both"] = "own"
    """`both`: a frozen pretrained network encodes the pictures, too, not our own encoder alone."""
    dropout: float = 0.0
    """Of blocks, and as large for stochastic depth."""
    soft_targets: tuple[float, ...] = ()
    """Temperature of the targets of each scale; empty learns tokens as they are."""
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnseenTable:
    """The table at a scale."""

    scale: UnseenScale
    rows: tuple[UnseenRow, ...]
    pools: tuple[Pool, ...]
    yardsticks: str
    """Folder of them."""
    stock: str
    tokenizer: str = "g3pt-small"
    steps: int = 500
    batch_size: int = 64
    width: int = 192
    guess_width: int = 768
    num_objects: int = 64
    """Of each yardstick, the first ones."""
    num_queries: int = 4096
    """Labelled points that their fields are asked at."""
    field_queries: int = 128
    """Labelled points of an example that a guess of fields is trained on, half of each kind."""
    consensus: int = 8

    def run(self, row: UnseenRow, seed: int, root: Path) -> StreamRun:
        """The training of a row."""
        maker = self.pools[0].config.maker
        image = PretrainedImageConditionConfig(
            image_size=maker.image_size,
            depth=3,
            width=self.width,
            num_heads=self.width // 64 or 1,
            features=row.features,
            pool=2,
        )
        guess = GuessConfig(image_size=maker.image_size, width=self.guess_width)
        return StreamRun(
            name=f"{row.name}-seed{seed}",
            tokenizer=self.tokenizer,
            num_scales=3,
            model=CarConfig(
                depth=4,
                width=self.width,
                num_heads=self.width // 64 or 1,
                conditions=(image,),
                head="bit_softmax",
                dropout=row.dropout,
                stochastic_depth=row.dropout,
                guess=None if row.guess == "none" else guess,
            ),
            data=RecordedConfig(
                selections=tuple(self.selection(share, root) for share in row.shares),
                batch_size=self.batch_size,
                num_points=maker.num_points,
                image_size=maker.image_size,
                num_queries=self.field_queries if row.guess == "field" else 0,
                seed=seed,
            ),
            loss=CarLossConfig(
                dropout=0.1,
                single_share=0.0,
                scale_weights=(1.0, 2.0, 4.0),
                soft_targets=row.soft_targets,
                guess_field=1.0 if row.guess == "field" else 0.0,
                guess_field_share=0.125,
            ),
            optim=MuonConfig(
                lr=2e-3,
                betas=(0.9, 0.95),
                weight_decay=0.05,
                schedule=ScheduleConfig(warmup_steps=self.steps // 20, final_share=0.02),
            ),
            train=TrainConfig(
                steps=self.steps,
                seed=seed,
                prefetch=False,
                ema_decay=0.98,
                log_every=20,
                eval_every=0,
                checkpoint_every=100,
                keep_checkpoints=1,
                device="cpu",
                threads=1,
            ),
        )

    def selection(self, share: Share, root: Path) -> Selection:
        """What a share stands for in the recordings below `root`."""
        families = spread_families(share.num_families) if share.num_families else ()
        return Selection(
            folder=str(self.pool(share.pool).folder(root / "pools")),
            num=share.num,
            families=families,
        )

    def pool(self, name: PoolName) -> Pool:
        """The recording of a name."""
        (found,) = (pool for pool in self.pools if pool.name == name)
        return found


def unseen(scale: UnseenScale) -> UnseenTable:
    """The table at a scale.

    Smoke makes pools, yardsticks and rows of seconds. Toy wants the stock and the yardsticks that
    `recipes.stream` names, and takes hours on a core.
    """
    match scale:
        case "smoke":
            shapes = (Share(pool="grammar", num=16), Share(pool="families", num=16))
            few = (Share(pool="few_families", num=8, num_families=6),)
            return UnseenTable(
                scale=scale,
                rows=(
                    UnseenRow(name="all-field", label="everything", shares=shapes, guess="field"),
                    UnseenRow(
                        name="all-pretrained",
                        label="+ pretrained, dropout",
                        shares=shapes,
                        features="both",
                        guess="features",
                        dropout=0.1,
                    ),
                    UnseenRow(
                        name="families-6",
                        label="6 families; soft targets",
                        shares=few,
                        soft_targets=(0.1, 0.1, 0.1),
                    ),
                ),
                pools=smoke_pools(),
                yardsticks="",
                stock="",
                steps=2,
                batch_size=4,
                width=32,
                guess_width=32,
                num_objects=2,
                num_queries=64,
                field_queries=96,
                consensus=2,
            )
        case "toy":
            stock = "cache/meshes-train.safetensors"
            return UnseenTable(
                scale=scale,
                rows=_toy_rows(),
                pools=toy_pools(stock),
                yardsticks="cache/yardsticks",
                stock=stock,
            )
        case _:
            assert_never(scale)


def _toy_rows() -> tuple[UnseenRow, ...]:
    grammar, families = Share(pool="grammar", num=8192), Share(pool="families", num=4096)
    real, warped = Share(pool="real", num=0), Share(pool="warped", num=4096)
    everything = (grammar, families, real, warped)
    label = "grammar, families, real, warped"

    def of_families(num: int, pool: PoolName = "families") -> UnseenRow:
        return UnseenRow(
            name=f"families-{num}",
            label=f"{num} families, 2,048",
            shares=(Share(pool=pool, num=2048, num_families=num),),
        )

    return (
        UnseenRow(
            name="all-field",
            label=f"{label}; guess, field",
            shares=everything,
            guess="field",
            seeds=(0, 1),
        ),
        UnseenRow(name="all", label=label, shares=everything, seeds=(0, 1)),
        UnseenRow(
            name="all-pretrained-field",
            label=f"{label}; pretrained; guess, field",
            shares=everything,
            features="both",
            guess="field",
            seeds=(0, 1),
        ),
        UnseenRow(
            name="grammar-16384",
            label="grammar, 16,384",
            shares=(Share(pool="grammar", num=16_384),),
        ),
        UnseenRow(name="families", label="all families, 4,096", shares=(families,)),
        UnseenRow(
            name="all-features",
            label=f"{label}; guess",
            shares=everything,
            guess="features",
        ),
        UnseenRow(
            name="all-pretrained",
            label=f"{label}; pretrained",
            shares=everything,
            features="both",
        ),
        UnseenRow(
            name="all-dropout",
            label=f"{label}; dropout .1",
            shares=everything,
            dropout=0.1,
        ),
        UnseenRow(
            name="all-soft",
            label=f"{label}; soft targets",
            shares=everything,
            soft_targets=_FITTED,
            seeds=(0, 1),
        ),
        UnseenRow(
            name="all-pretrained-features-soft",
            label=f"{label}; pretrained; guess; soft targets",
            shares=everything,
            features="both",
            guess="features",
            soft_targets=_FITTED,
        ),
        UnseenRow(name="grammar-families", label="grammar, families", shares=(grammar, families)),
        UnseenRow(
            name="grammar-families-real",
            label="grammar, families, real",
            shares=(grammar, families, real),
        ),
        UnseenRow(
            name="grammar-4096", label="grammar, 4,096", shares=(replace(grammar, num=4096),)
        ),
        UnseenRow(
            name="grammar-4096-soft",
            label="grammar, 4,096; soft targets",
            shares=(replace(grammar, num=4096),),
            soft_targets=_FITTED,
        ),
        UnseenRow(
            name="families-all-2048",
            label="all families, 2,048",
            shares=(replace(families, num=2048),),
        ),
        of_families(6, "few_families"),
        of_families(12),
        of_families(24),
    )
