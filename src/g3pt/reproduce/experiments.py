"""What a table of the paper consists of: variants that are trained, claims that are checked."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from g3pt.evaluation.objects import EvaluationSettings, ObjectList
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.preparation.sources import ShapeRef, SourceConfig, list_shapes
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.kinds.car import CarRun
from g3pt.training.kinds.flow import FlowRun
from g3pt.training.kinds.tokenizer import TokenizerRun
from g3pt.training.runs import Run

Scale = Literal["smoke", "toy", "small", "paper"]
"""smoke: seconds, nothing learnt. toy: minutes on a processor. small: for one large
GPU. paper: the paper's sizes."""


RUNS = Path("runs/reproduce")
"""Where rows are kept unless another folder is named; recipes name weights as if it were here."""

WEIGHTS_FOLDER = "weights"


def weights_of(scale: Scale, name: str) -> str:
    """The weights of a row's first seed in `RUNS`, for the runs that start from them."""
    return str(RUNS / scale / f"{name}-seed0" / WEIGHTS_FOLDER)


def located(run: Run, root: Path) -> Run:
    """The run of a row that is kept below `root`: it reads there what `weights_of` names."""
    if isinstance(run, CarRun | FlowRun) and Path(run.tokenizer).is_relative_to(RUNS):
        return replace(run, tokenizer=str(root / Path(run.tokenizer).relative_to(RUNS)))
    return run


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSet:
    """Held-out shapes of which meshes are made, reconstructed or generated, and compared."""

    name: str
    source: SourceConfig
    settings: EvaluationSettings
    num: int = 0
    """Only so many, spread evenly over the source; 0 is all."""
    optional: bool = False
    """Rows are measured without it where its source is missing, and a line says so."""

    def objects(self) -> ObjectList:
        """List the shapes; every row asks the same of them, so they remember what they said."""
        refs: tuple[ShapeRef, ...] = tuple(list_shapes(self.source))
        if 0 < self.num < len(refs):
            refs = tuple(refs[place * len(refs) // self.num] for place in range(self.num))
        return ObjectList(name=self.name, refs=refs, remembered=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class LikelihoodSet:
    """Held-out prepared shapes whose tokens a generator is to predict."""

    name: str
    shapes: PreparedShapes
    num: int
    """The first so many are measured."""


MeasuredSet = EvaluationSet | LikelihoodSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A row of a table: a run, trained once for every seed."""

    name: str
    """Also names the run folder. Equal names in two tables are the same run."""
    label: str
    run: Run
    seeds: tuple[int, ...] = (0,)
    trained_as: str = ""
    """Name of the variant that has the same run: this one measures its weights in another way
    and trains none."""
    sampling: Sampling = STANDARD
    """Of generators, when their meshes are measured."""
    num_steps: int = 50
    """Of a flow, when its meshes are measured."""
    consensus: int = 1
    """Of generators that sample: every answer is the mean of so many samples."""
    is_retrieval: bool = False
    """Of generators: the answer is the training shape whose picture is most alike to the model's
    own encoder."""
    curve: str = ""
    """Over operations: rows of one curve are the same model after different steps."""
    paper: dict[str, float] = field(default_factory=dict[str, float])
    """The paper's numbers: `tokens`, `codebook`, `iou`, `chamfer`, `fscore`, `accuracy`,
    `usage`, in the paper's units."""

    @property
    def answers_pictures(self) -> bool:
        """Whether a model answers pictures.

        A tokenizer is shown the shape itself, and retrieval looks among the training shapes.
        """
        return not (self.is_retrieval or isinstance(self.run, TokenizerRun))

    @property
    def method(self) -> str:
        """Which rows of an evaluation of a generator are its own."""
        if self.is_retrieval:
            return "retrieved_by_image"
        return "image" if self.consensus == 1 else f"image_consensus_of_{self.consensus}"

    @property
    def part(self) -> Literal["samples", "consensus", "retrieved"]:
        """What of such an evaluation these rows are."""
        if self.is_retrieval:
            return "retrieved"
        return "samples" if self.consensus == 1 else "consensus"

    def seeded(self, seed: int) -> Run:
        """The run of one seed: weights, order and every random choice follow from it."""
        run = self.run
        return replace(
            run,
            name=f"{self.trained_as or self.name}-seed{seed}",
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
    """Checked on every set where both rows have it."""
    higher_is_better: bool = True
    of_paper: bool = True
    """False: our own question, which the paper says nothing about."""


def with_sets_that_are_there(experiment: "Experiment") -> "tuple[Experiment, tuple[str, ...]]":
    """An experiment without the optional sets whose source is missing, and a line about each.

    Raises:
        FileNotFoundError, ValueError: if a set cannot be used that is not optional.
    """
    kept: list[MeasuredSet] = []
    lines: list[str] = []
    for one in experiment.evaluation:
        try:
            if isinstance(one, EvaluationSet):
                one.objects()
        except FileNotFoundError as error:
            if not (isinstance(one, EvaluationSet) and one.optional):
                raise
            lines.append(f"{one.name}: rows are measured without this set ({error})")
            continue
        kept.append(one)
    return replace(experiment, evaluation=tuple(kept)), tuple(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A table or figure by name at one scale."""

    name: str
    title: str
    scale: Scale
    variants: tuple[Variant, ...]
    claims: tuple[Claim, ...]
    evaluation: tuple[MeasuredSet, ...]
    before: tuple[Variant, ...] = ()
    """Trained before the rows, from their first seed; the runs of rows read them (`located`)."""
    axis: Literal["", "tokens", "codebook", "parameters", "operations"] = ""
    """What the rows are plotted against; without one, rows are bars. Over parameters a power law
    is fitted; over operations rows are compared with `reference` at equal operations too."""
    reference: str = ""
    """The curve that the others are compared with at equal operations."""
    timed: str = ""
    """All rows that generate are timed in turn; ratios are to the row of this name."""

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name}: two variants have the same name")
        by_name = {variant.name: variant for variant in self.variants}
        for variant in self.variants:
            lender = by_name.get(variant.trained_as or variant.name)
            if lender is None or lender.trained_as or lender.run != variant.run:
                raise ValueError(
                    f"{self.name}: {variant.name}: trained_as must name a variant with the same "
                    f"run that is trained itself, got {variant.trained_as!r}"
                )
            if missing := set(variant.seeds) - set(lender.seeds):
                raise ValueError(
                    f"{self.name}: {variant.name}: {variant.trained_as} has no seed {missing.pop()}"
                )
        curves = {variant.curve for variant in self.variants}
        if self.axis == "operations" and ("" in curves or self.reference not in curves):
            raise ValueError(
                f"{self.name}: over operations every variant needs a curve, and reference must be "
                f"one of them, got {self.reference!r} of {sorted(curves)}"
            )
        if self.timed and self.timed not in names:
            raise ValueError(f"{self.name}: timed: there is no variant {self.timed}")
        for claim in self.claims:
            if missing := {claim.better, claim.worse} - set(names):
                raise ValueError(f"{self.name}: {claim.text}: there is no variant {missing.pop()}")
