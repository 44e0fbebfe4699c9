"""What a table of the paper consists of: variants that are trained, claims that are checked."""

from dataclasses import dataclass, field, replace
from typing import Literal

from g3pt.data.sources import ShapeRef, SourceConfig, list_shapes
from g3pt.evaluation.objects import ObjectList
from g3pt.evaluation.protocol import EvaluationSettings
from g3pt.training.runs import TokenizerRun

Scale = Literal["smoke", "toy", "small", "paper"]
"""smoke: seconds, nothing learnt. toy: minutes on a processor. small: for one large
GPU. paper: the paper's sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Held-out shapes that a table is measured on, and how finely."""

    name: str
    source: SourceConfig
    settings: EvaluationSettings

    def objects(self) -> ObjectList:
        """List the shapes."""
        refs: tuple[ShapeRef, ...] = tuple(list_shapes(self.source))
        return ObjectList(name=self.name, refs=refs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A row of a table: a run, trained once for every seed."""

    name: str
    """Of the run folder, too. Equal names in two tables are the same run."""
    label: str
    run: TokenizerRun
    seeds: tuple[int, ...] = (0,)
    paper: dict[str, float] = field(default_factory=dict[str, float])
    """The paper's numbers: `tokens`, `codebook`, `iou`, `chamfer`, `fscore`, `accuracy`,
    `usage`, in the paper's units."""

    def seeded(self, seed: int) -> TokenizerRun:
        """The run of one seed: weights, order and every random choice follow from it."""
        run = self.run
        return replace(
            run,
            name=f"{self.name}-seed{seed}",
            data=replace(run.data, seed=seed),
            train=replace(run.train, seed=seed),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One row is better than another."""

    text: str
    better: str
    """Name of the variant said to be better."""
    worse: str
    metric: str = "iou"
    higher_is_better: bool = True
    of_paper: bool = True
    """False: our own question, which the paper says nothing about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A table or figure by name at one scale."""

    name: str
    title: str
    scale: Scale
    variants: tuple[Variant, ...]
    claims: tuple[Claim, ...]
    evaluation: tuple[EvaluationSet, ...]
    axis: Literal["", "tokens", "codebook"] = ""
    """What the rows are plotted against; without one, rows are bars."""

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name}: two variants have the same name")
        for claim in self.claims:
            if missing := {claim.better, claim.worse} - set(names):
                raise ValueError(f"{self.name}: {claim.text}: there is no variant {missing.pop()}")
