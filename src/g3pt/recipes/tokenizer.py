"""Runs of stage 1. Each is a function that returns a complete config."""

from dataclasses import replace

from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.preparation.sources import OPEN_LICENCES, FolderSourceConfig, ProceduralSourceConfig
from g3pt.procedural import HELD_OUT_SEEDS
from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig
from g3pt.shapes.shape_set import Selection
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.training.config import TrainConfig
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.kinds.tokenizer import TokenizerLossConfig, TokenizerRun
from g3pt.training.optim import AdamWConfig, MuonConfig, ScheduleConfig
from g3pt.training.validation import ValidationConfig

PAPER_SCALES = (1, 4, 9, 16, 25, 49, 2304)
"""2408 tokens for 2304 latents, as in the paper; the split of the first 104 tokens is our guess
(docs/deviations.md)."""

OPEN_TRAINING = Selection(split="train", licences=OPEN_LICENCES, own_sets=True)
"""The shapes that the bundled weights may be trained on, and sets of one's own."""


def first() -> TokenizerRun:
    """85 tokens in four scales, in minutes on one core (docs/first-experiment.md)."""
    return TokenizerRun(
        name="tokenizer-first",
        model=CvqConfig(
            num_latents=64,
            dim=64,
            num_heads=2,
            encoder_layers=1,
            decoder_layers=2,
            cqt=CqtConfig(scale_lengths=(1, 4, 16, 64)),
            quantizer=LfqConfig(num_bits=10, normalization="rms"),
        ),
        shapes=(_first_shapes(),),
        held_out=(_first_shapes(held_out=True),),
        data=TokenizerDataConfig(
            batch_size=16,
            num_points=512,
            num_volume_queries=256,
            num_near_queries=256,
            near_sigmas=(0.02, 0.05),
            symmetry="mirror",
        ),
        validation=ValidationConfig(
            num_shapes=64, num_points=512, num_volume_queries=4096, num_near_queries=1024
        ),
        optim=MuonConfig(
            lr=2e-3,
            excluded=(*MuonConfig().excluded, "cqt", "quantizer"),
            schedule=ScheduleConfig(warmup_steps=50, final_share=0.02),
        ),
        train=TrainConfig(
            steps=1000, threads=1, ema_decay=0.99, eval_every=500, checkpoint_every=500
        ),
    )


def _first_shapes(*, held_out: bool = False) -> PreparedShapes:
    """Procedural shapes with few points and the canonical picture, prepared in a minute."""
    name, num = ("held-out", 64) if held_out else ("train", 1536)
    shapes = procedural_shapes(held_out=held_out)
    return replace(
        shapes,
        path=f"cache/first-{name}",
        source=replace(shapes.source, num=num),
        prepare=PrepareConfig(num_points=2048, num_volume_queries=4096, num_near_queries=6144),
        views=replace(shapes.views, num_views=0, size=96),
    )


def tiny_procedural() -> TokenizerRun:
    """First part of `tiny`: procedural shapes only, including the LayerNorm warm-up."""
    return TokenizerRun(
        name="tokenizer-tiny-procedural",
        model=CvqConfig(),
        shapes=(procedural_shapes(),),
        held_out=(procedural_shapes(held_out=True),),
        data=TokenizerDataConfig(
            batch_size=16,
            num_points=1024,
            num_volume_queries=512,
            num_near_queries=512,
            near_sigmas=(0.02, 0.05),
            selection=OPEN_TRAINING,
            symmetry="mirror",
        ),
        validation=ValidationConfig(num_shapes=64, num_volume_queries=4096, num_near_queries=1024),
        loss=TokenizerLossConfig(scale_dropout=0.15),
        optim=MuonConfig(
            lr=2e-3,
            excluded=(*MuonConfig().excluded, "cqt", "quantizer"),
            schedule=ScheduleConfig(warmup_steps=100, final_share=0.3),
        ),
        train=TrainConfig(
            steps=2500, precision="bf16", threads=1, eval_every=500, checkpoint_every=250
        ),
    )


def tiny() -> TokenizerRun:
    """The tokenizer of `car-tiny`: continues `tiny_procedural` with real meshes mixed in.

    `meshes` is a folder of meshes with a `manifest.jsonl` (docs/data.md). If there is none, the run
    trains without it.
    """
    first = tiny_procedural()
    return replace(
        first,
        name="tokenizer-tiny",
        initial="runs/tokenizer-tiny-procedural",
        shapes=(*first.shapes, mesh_shapes()),
        data=replace(first.data, weights=(0.6, 0.4)),
        loss=replace(first.loss, warmup_share=0.0),
        optim=replace(
            first.optim, lr=1.5e-3, schedule=ScheduleConfig(warmup_steps=100, final_share=0.01)
        ),
        train=replace(first.train, steps=4000),
    )


def small() -> TokenizerRun:
    """256 latents; trains in minutes on one GPU, with all shapes in its memory and a time limit.

    The mean of the bits is kept and attention starts local, because `choices` found both better.
    """
    return TokenizerRun(
        name="tokenizer-small",
        model=CvqConfig(
            num_latents=256,
            dim=256,
            num_heads=4,
            encoder_layers=2,
            decoder_layers=6,
            cqt=CqtConfig(scale_lengths=(1, 4, 16, 64, 256)),
            quantizer=LfqConfig(normalization="rms"),
        ),
        shapes=(small_shapes(), mesh_shapes()),
        held_out=(procedural_shapes(held_out=True),),
        data=TokenizerDataConfig(
            batch_size=256,
            num_points=2048,
            num_volume_queries=1024,
            num_near_queries=1152,
            weights=(0.65, 0.35),
            near_sigmas=(0.005, 0.02, 0.05),
            selection=OPEN_TRAINING,
            symmetry="mirror",
            resident_points=4096,
        ),
        validation=ValidationConfig(num_shapes=200, batch_size=100),
        loss=TokenizerLossConfig(scale_dropout=0.1, warmup_share=0.15),
        optim=MuonConfig(
            lr=2e-3,
            excluded=(*MuonConfig().excluded, "cqt", "quantizer"),
            schedule=ScheduleConfig(warmup_steps=200, final_share=0.01),
        ),
        train=TrainConfig(
            steps=0,
            minutes=6.0,
            precision="bf16",
            log_every=100,
            eval_every=2000,
            checkpoint_every=2000,
            keep_checkpoints=1,
        ),
    )


def small_shapes() -> PreparedShapes:
    """Procedural shapes of `small`, with the canonical picture and one more."""
    shapes = procedural_shapes()
    return replace(
        shapes,
        path="cache/procedural-small",
        source=replace(shapes.source, num=24_576),
        prepare=PrepareConfig(num_points=4096, num_volume_queries=8192, num_near_queries=12_288),
        views=ViewsConfig(num_views=1, size=128, supersample=1),
    )


def mesh_shapes() -> PreparedShapes:
    """The meshes of the folder `meshes`, both splits, if it exists; their colours are sRGB."""
    return PreparedShapes(
        path="cache/meshes",
        source=FolderSourceConfig(path="meshes", gltf_colors="srgb"),
        # Half the cost of the defaults, and still more points than `tiny` draws.
        prepare=PrepareConfig(
            num_points=16_384,
            num_volume_queries=65_536,
            num_near_queries=65_544,
            solid_resolution=128,
        ),
        views=ViewsConfig(num_views=12, size=160),
        optional=True,
    )


def paper() -> TokenizerRun:
    """The paper's size: width 512, 12 + 16 layers, 16384 points, 8192 entries (Sec. 4.1, 4.2)."""
    return TokenizerRun(
        name="tokenizer-paper",
        model=CvqConfig(
            num_latents=2304,
            dim=512,
            num_heads=8,
            encoder_layers=12,
            decoder_layers=16,
            query_mlp_ratio=4.0,
            cqt=CqtConfig(scale_lengths=PAPER_SCALES),
        ),
        shapes=(_dense("cache/procedural-paper", num=100_000, num_views=12),),
        held_out=(_dense("cache/procedural-paper-held-out", num=200, held_out=True),),
        data=TokenizerDataConfig(
            batch_size=256, num_points=16_384, num_volume_queries=8192, num_near_queries=8192
        ),
        validation=ValidationConfig(num_shapes=200, num_points=16_384),
        optim=AdamWConfig(lr=1e-4, betas=(0.9, 0.95), schedule=ScheduleConfig(warmup_steps=2000)),
        train=TrainConfig(steps=60_000, precision="bf16", accumulation=32, log_every=100),
    )


def first_smoke() -> TokenizerRun:
    """`first` in seconds."""
    return _smoke(first())


def tiny_smoke() -> TokenizerRun:
    """`tiny` in seconds: it runs every part and learns nothing useful."""
    return _smoke(replace(tiny_procedural(), name="tokenizer-tiny"))


def small_smoke() -> TokenizerRun:
    """`small` in seconds."""
    return _smoke(small())


def paper_smoke() -> TokenizerRun:
    """`paper` in seconds."""
    return _smoke(paper())


def _smoke(run: TokenizerRun) -> TokenizerRun:
    assert isinstance(run.model, CvqConfig)
    model = replace(
        run.model,
        num_latents=16,
        dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        cqt=replace(run.model.cqt, scale_lengths=(1, 4, 16)),
        quantizer=replace(run.model.quantizer, num_bits=6),
    )
    data = replace(
        run.data,
        batch_size=4,
        num_points=64,
        num_volume_queries=32,
        num_near_queries=48,
        weights=(),
        resident_points=min(run.data.resident_points, 256),
    )
    return replace(
        run,
        name=f"{run.name}-smoke",
        model=model,
        shapes=(smoke_shapes(),),
        held_out=(smoke_shapes(held_out=True),),
        data=data,
        validation=replace(
            run.validation,
            num_shapes=4,
            num_points=64,
            num_volume_queries=128,
            num_near_queries=64,
            batch_size=4,
        ),
        loss=TokenizerLossConfig(scale_dropout=0.25, prefix_weight=0.5),
        train=smoke_train(run.train),
    )


def smoke_train(train: TrainConfig) -> TrainConfig:
    """A dozen steps, each logged, with evaluations and checkpoints between them."""
    return replace(
        train,
        steps=12,
        minutes=0.0,
        accumulation=min(train.accumulation, 2),
        log_every=1,
        eval_every=6,
        checkpoint_every=4,
        device="cpu",
        threads=1,
    )


def smoke_shapes(*, held_out: bool = False) -> PreparedShapes:
    """A handful of procedural shapes with few points."""
    name = "held-out" if held_out else "train"
    shapes = procedural_shapes(held_out=held_out)
    return replace(
        shapes,
        path=f"cache/smoke-{name}",
        source=replace(shapes.source, num=8),
        prepare=replace(
            shapes.prepare, num_points=256, num_volume_queries=256, num_near_queries=384
        ),
        views=replace(shapes.views, size=32),
    )


def procedural_shapes(*, held_out: bool = False) -> PreparedShapes:
    """Procedural shapes with the canonical picture and, for training, one more."""
    name, num = ("val", 200) if held_out else ("train", 16_384)
    first_seed = HELD_OUT_SEEDS.start if held_out else 0
    return PreparedShapes(
        path=f"cache/procedural-{name}",
        source=ProceduralSourceConfig(num=num, first_seed=first_seed),
        prepare=PrepareConfig(num_points=8192, num_volume_queries=16_384, num_near_queries=24_576),
        # One ray per pixel is enough for pictures that are reduced to 96 pixels.
        views=ViewsConfig(num_views=0 if held_out else 1, size=160, supersample=1),
    )


def _dense(path: str, *, num: int, held_out: bool = False, num_views: int = 0) -> PreparedShapes:
    """Shapes with enough points and queries to draw the paper's numbers of them."""
    shapes = procedural_shapes(held_out=held_out)
    return replace(
        shapes,
        path=path,
        source=replace(shapes.source, num=num),
        prepare=PrepareConfig(),
        views=ViewsConfig(num_views=num_views),
    )
