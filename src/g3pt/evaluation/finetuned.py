"""A finetuning from meshes to weights, in stages that are kept in a folder.

    finetune.json       config; another one is refused
    split.json          which meshes are trained on, which are held out, which are of no use
    train.safetensors   stock of the meshes that are trained on
    own.safetensors     yardstick of the held-out ones
    recordings/         warped examples of the meshes, and procedural shapes
    run/                checkpoints and metrics
    before.json ...     what was measured

A stage that is there is not made again, so that a stopped finetuning goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from g3pt.config import load_json, save_json
from g3pt.evaluation.objects import ObjectList
from g3pt.evaluation.protocols.before_after import Show
from g3pt.evaluation.sets.yardsticks import build_yardstick
from g3pt.files import MAX_JSON_BYTES
from g3pt.models.adapters import adapter_tensors, load_adapter_tensors
from g3pt.models.car import Car
from g3pt.models.conditioning.growing import missing_words, with_words
from g3pt.models.conditioning.pixels import shrink_pictures
from g3pt.models.conditioning.pretrained import frozen_features
from g3pt.models.sampling import STANDARD
from g3pt.models.tokenizer import DiscreteTokenizer, require_tokens
from g3pt.models.weights.adapter import AdapterConfig, adapt_car
from g3pt.models.weights.load import LoadedWeights
from g3pt.preparation.holdout import HoldOut, hold_out
from g3pt.preparation.inputs import MeshRef
from g3pt.preparation.stock_builder import build_stock
from g3pt.shapes.mesh_stock import MeshStock
from g3pt.shapes.stock_meshes import StockConfig
from g3pt.shapes.yardstick import Yardstick, load_yardstick, save_yardstick
from g3pt.stream.recorded import RecordedConfig
from g3pt.stream.recording import Selection, record
from g3pt.training.checkpoint import load_module_tensors, load_newest_checkpoint
from g3pt.training.finetune_plan import FinetuneConfig
from g3pt.training.finetuning import FinetuneTask
from g3pt.training.loop import BEST_FOLDER, TrainResult, train

CONFIG_FILE = "finetune.json"
OWN = "own"
"""Name of the yardstick of held-out meshes."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a finetuning learns from and is judged by."""

    split: HoldOut
    stock: MeshStock
    own: Yardstick
    captions: tuple[str, ...]
    """Captions of the meshes that are trained on."""

    @property
    def num_meshes(self) -> int:
        """Meshes that are trained on: those of the stock whose labels can be trusted."""
        return sum(not one["flagged"] for one in self.stock.objects)


def begin(config: FinetuneConfig, work: Path, *, resume: bool) -> None:
    """Claim a folder, which is there, for a finetuning.

    Raises:
        ValueError: if it holds one and `resume` is False, or another one.
    """
    path = work / CONFIG_FILE
    if not path.is_file():
        save_json(path, config)
        return
    if not resume:
        raise ValueError(
            f"{work} holds a finetuning already: pass --resume to go on, or remove the folder"
        )
    held = load_json(path, FinetuneConfig)
    differing = [name for name, value in asdict(config).items() if asdict(held)[name] != value]
    differing = [name for name in differing if name != "threads"]
    if differing:
        raise ValueError(
            f"{work}: holds a finetuning with another {', '.join(differing)}; give the same flags "
            "to go on, or remove the folder"
        )


def prepare(
    refs: Sequence[MeshRef], config: FinetuneConfig, work: Path, show: Show, *, workers: int = 1
) -> Data:
    """Split, label and draw the meshes.

    Raises:
        ValueError: if they are too few, or none can be used.
    """
    by_id = {ref.id: ref for ref in refs}
    split = _split(refs, config, work, show, workers)
    chosen = [by_id[one] for one in split.train if one in by_id]
    stock = work / "train.safetensors"
    if not stock.is_file():
        build_stock(
            chosen,
            stock,
            StockConfig(max_faces=config.max_faces),
            workers=workers,
            on_progress=lambda done, total, _: show("meshes to train on", done, total),
        )
    own = work / f"{OWN}.safetensors"
    if not own.is_file():
        held = tuple(replace(by_id[one], split="val") for one in split.held if one in by_id)
        built = build_yardstick(
            OWN,
            ObjectList(name=OWN, refs=held),
            on_progress=partial(show, "held-out meshes"),
        )
        save_yardstick(own, built.yardstick)
    opened = MeshStock.read(stock)
    data = Data(
        split=split,
        stock=opened,
        own=load_yardstick(own),
        captions=tuple(caption for one in opened.objects for caption in one["captions"]),
    )
    if not data.num_meshes:
        raise ValueError(
            f"none of {len(opened)} meshes has labels that can be trusted: their solids differ "
            "from their surfaces (`g3pt prepare` writes a report that says how)"
        )
    return data


def _split(
    refs: Sequence[MeshRef], config: FinetuneConfig, work: Path, show: Show, workers: int
) -> HoldOut:
    path = work / "split.json"
    if path.is_file():
        return load_json(path, HoldOut, most=MAX_JSON_BYTES)  # names every mesh
    split = hold_out(
        refs,
        config.held_out,
        workers=workers,
        on_progress=lambda done, total, _: show("looking for near-duplicates", done, total),
    )
    save_json(path, split)
    return split


def record_examples(
    data: Data, config: FinetuneConfig, weights: LoadedWeights, work: Path, show: Show
) -> RecordedConfig:
    """Record warped meshes and procedural shapes; see `stream.recording`."""
    car, tokenizer = _models(weights)
    num_scales = config.loss(car.config, weights.config.sampling).num_scales
    nums: dict[Literal["meshes", "families", "grammar"], int] = {
        "meshes": config.num_examples(data.num_meshes)
    }
    if replayed := config.num_replayed(data.num_meshes):
        nums |= {"families": replayed, "grammar": replayed}
    selections: list[Selection] = []
    for source, num in nums.items():
        folder = work / "recordings" / source
        record(
            config.recording(source, car.config, num_scales, str(work / "train.safetensors")),
            folder,
            num,
            lambda points, normals: tokenizer.tokenize(points, normals, num_scales),
            None if car.guess is None else partial(_see, car),
            device=str(weights.device),
            on_part=partial(show, f"examples of {source}"),
        )
        selections.append(Selection(folder=str(folder)))
    maker = config.recording("families", car.config, num_scales, "").maker
    has_text = any(each.slot == "text" for each in car.config.conditions)
    return RecordedConfig(
        selections=tuple(selections),
        batch_size=config.batch_size,
        num_points=config.num_points,
        image_size=maker.image_size,
        num_queries=256,
        text_share=0.15 if has_text and any(data.captions) else 0.0,
        seed=config.seed,
    )


def _see(car: Car, pictures_VSS4: Tensor) -> Tensor:
    """Features that the first guess reads."""
    assert car.guess is not None
    own = car.guess.config
    return frozen_features(
        shrink_pictures(pictures_VSS4, own.image_size), own.image_size, own.sha256
    )


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A generator with what was learnt, and how the training ended."""

    car: Car
    """With adapters that are not merged, unless all weights were trained."""
    adapter: AdapterConfig | None
    words: tuple[str, ...]
    result: TrainResult


def train_generator(
    data: Data,
    recorded: RecordedConfig,
    config: FinetuneConfig,
    weights: LoadedWeights,
    work: Path,
    *,
    name: str,
) -> Trained:
    """Train, or go on, and take the weights that were best on the held-out meshes.

    The decoder of the weights' tokenizer is changed in place if it is trained.
    """
    car, tokenizer = _models(weights)
    words = missing_words(car, data.captions)
    adapter: AdapterConfig | None = None
    if config.full:
        changed = with_words(car, words).requires_grad_(True)
    else:
        adapter = AdapterConfig(
            name=name,
            base=weights.name,
            base_sha256=weights.sha256,
            rank=config.rank,
            scale=2.0,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            changed = adapt_car(car, adapter, words)
    sampling = weights.config.sampling.over(STANDARD)
    task = FinetuneTask(
        changed,
        tokenizer,
        recorded,
        config.loss(car.config, sampling),
        data.own,
        sampling,
        seed=config.seed,
    )
    result = train(
        task,
        optim=config.optim(data.num_meshes),
        config=config.train(data.num_meshes),
        run_dir=work / "run",
        resume=True,
    )
    best = load_newest_checkpoint(work / "run" / BEST_FOLDER)
    if best is not None:
        load_module_tensors(task.module, best.group("model"), best.file("model"))
    changed.eval()
    tokenizer.eval().requires_grad_(False)
    return Trained(car=changed, adapter=adapter, words=words, result=result)


def as_stored(trained: Trained) -> None:
    """Round adapters to the number format of their file, so that figures are those of the file."""
    if trained.adapter is not None:
        rounded = {name: each.half().float() for name, each in adapter_tensors(trained.car).items()}
        load_adapter_tensors(trained.car, rounded)


def _models(weights: LoadedWeights) -> tuple[Car, DiscreteTokenizer]:
    """The generator and the tokenizer of weights.

    Raises:
        ValueError: if there is no generator, or the tokenizer has no discrete tokens.
    """
    if weights.car is None:
        raise ValueError(f"weights {weights.name} hold no generator to finetune")
    return weights.car, require_tokens(weights.tokenizer, weights.name)
