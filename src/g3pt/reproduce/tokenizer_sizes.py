"""The tokenizers of the tables at four sizes: everything in which the sizes differ.

`toy` is 500 steps of a model of 0.3M parameters, under two minutes on one core of a laptop;
`small` is for one large GPU and has not been run yet; `paper` has the paper's numbers.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from g3pt.evaluation.objects import EvaluationSettings, quick_settings
from g3pt.models.alternatives.triplane import TriplaneConfig
from g3pt.models.alternatives.volume import VolumeConfig
from g3pt.models.cqt import CqtConfig
from g3pt.models.cvq import CvqConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.preparation.sources import FolderSourceConfig, ProceduralSourceConfig
from g3pt.procedural import HELD_OUT_SEEDS
from g3pt.recipes import tokenizer
from g3pt.reproduce.experiments import EvaluationSet, Scale
from g3pt.shapes.datasets.tokenizer import TokenizerDataConfig
from g3pt.shapes.stored import PrepareConfig, ViewsConfig
from g3pt.training.config import TrainConfig
from g3pt.training.ingredients import PreparedShapes
from g3pt.training.kinds.tokenizer import TokenizerRun
from g3pt.training.optim import MuonConfig, ScheduleConfig
from g3pt.training.validation import ValidationConfig

BOTTLENECKS = ("cqt", "quantizer", "pooling", "moments", "latent")
"""Parts of a model that AdamW trains, in all kinds: `tiny` found it better."""

REPORTED_SEEDS = HELD_OUT_SEEDS.start + 2000
"""First seed of the shapes that tables are measured on; nothing was chosen by them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerSize:
    """What the tables need to know about a size."""

    scale: Scale
    run: TokenizerRun
    """CVQ with the most tokens and the largest codebook."""
    ladder: tuple[tuple[int, ...], ...]
    """Scale lengths of growing token counts (Table 3b); the last are those of `run`."""
    few: int
    """Which rung is the smaller count of Table 2."""
    num_bits: tuple[int, ...]
    """Bits of growing codebooks (Table 3a); the last are those of `run`."""
    by_count: tuple[tuple[int, ...], ...]
    """Scale lengths with the token sum of `run` but another number of scales."""
    evener: tuple[int, ...]
    """Scale lengths with the token sum of `run` but fewer tokens in the last scale."""
    kl_dim: int
    """Channels of a narrow latent of the VAE: an eighth of the width, as in CLAY."""
    triplane: TriplaneConfig
    volume: VolumeConfig
    """These two before their widths are matched; about as many cells as `run` has tokens."""
    seeds: tuple[int, ...]
    """Of every row of Tables 2 and 4."""
    ladder_seeds: tuple[int, ...]
    """Of the rows that only the ladders of Table 3 have."""
    more_seeds: tuple[int, ...]
    """Of the choices that matter most."""
    evaluation: tuple[EvaluationSet, ...]

    def __post_init__(self) -> None:
        lengths = self.model.cqt.scale_lengths
        assert self.ladder[-1] == lengths
        assert self.num_bits[-1] == self.model.quantizer.num_bits
        for others in (*self.by_count, self.evener):
            assert sum(others) == sum(lengths), f"{others} has another sum than {lengths}"

    @property
    def model(self) -> CvqConfig:
        """The model of `run`."""
        assert isinstance(self.run.model, CvqConfig)
        return self.run.model

    @property
    def num_tokens(self) -> int:
        """Tokens of `run`."""
        return self.model.cqt.num_tokens


def size(scale: Scale) -> TokenizerSize:
    """The tokenizers of the tables at a size."""
    match scale:
        case "smoke":
            return smoke()
        case "toy":
            return toy()
        case "small":
            return small()
        case "paper":
            return paper()
        case _:
            assert_never(scale)


def toy() -> TokenizerSize:
    """Two minutes a run on one core, on procedural shapes."""
    lengths, num_bits = (1, 4, 16, 64), 10
    model = CvqConfig(
        num_latents=64,
        dim=64,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        cqt=CqtConfig(scale_lengths=lengths),
        quantizer=LfqConfig(num_bits=num_bits),
    )
    run = TokenizerRun(
        name="toy",
        model=model,
        shapes=(toy_shapes(),),
        held_out=(toy_shapes(held_out=True),),
        data=TokenizerDataConfig(
            batch_size=16,
            num_points=512,
            num_volume_queries=256,
            num_near_queries=256,
            near_sigmas=(0.02, 0.05),
            symmetry="mirror",
        ),
        validation=ValidationConfig(
            num_shapes=200, num_points=512, num_volume_queries=4096, num_near_queries=1024
        ),
        optim=MuonConfig(
            lr=2e-3,
            excluded=(*MuonConfig().excluded, *BOTTLENECKS),
            convolutions=True,
            schedule=ScheduleConfig(warmup_steps=50, final_share=0.02),
        ),
        train=TrainConfig(
            steps=500, threads=1, ema_decay=0.99, eval_every=500, checkpoint_every=125
        ),
    )
    return TokenizerSize(
        scale="toy",
        run=run,
        ladder=((1, 2, 3, 6), (1, 3, 6, 12), (1, 4, 12, 28), lengths),
        few=1,
        num_bits=(4, 6, 8, num_bits),
        by_count=((85,), (1, 2, 3, 4, 5, 6, 64), (1, 2, 3, 4, 5, 6, 7, 8, 9, 40)),
        evener=(1, 4, 32, 48),
        kl_dim=8,
        triplane=TriplaneConfig(
            resolution=5,
            dim=64,
            num_heads=2,
            encoder_layers=1,
            decoder_channels=(48, 24),
            decoder_blocks=1,
            query_hidden=64,
            quantizer=model.quantizer,
        ),
        volume=VolumeConfig(
            grid=(4, 5, 4),
            dim=48,
            num_heads=2,
            channels=(8, 16),
            query_hidden=64,
            quantizer=model.quantizer,
        ),
        seeds=(0, 1),
        ladder_seeds=(0,),
        more_seeds=(0, 1, 2),
        evaluation=(procedural_set(32, toy_settings()),),
    )


def small() -> TokenizerSize:
    """Minutes a run on one large GPU, on procedural shapes and real meshes."""
    lengths, num_bits = (1, 4, 16, 64, 256), 13
    base = tokenizer.tiny_procedural()
    model = CvqConfig(
        num_latents=256,
        dim=256,
        num_heads=4,
        encoder_layers=4,
        decoder_layers=8,
        cqt=CqtConfig(scale_lengths=lengths),
        quantizer=LfqConfig(num_bits=num_bits),
    )
    run = TokenizerRun(
        name="small",
        model=model,
        shapes=(tokenizer.procedural_shapes(), tokenizer.mesh_shapes()),
        held_out=(tokenizer.mesh_shapes(), tokenizer.procedural_shapes(held_out=True)),
        data=replace(
            base.data,
            batch_size=64,
            num_points=4096,
            num_volume_queries=1024,
            num_near_queries=1024,
            weights=(0.5, 0.5),
        ),
        validation=ValidationConfig(num_shapes=200, num_points=4096),
        optim=MuonConfig(
            lr=1.5e-3,
            excluded=(*MuonConfig().excluded, *BOTTLENECKS),
            convolutions=True,
            schedule=ScheduleConfig(warmup_steps=200, final_share=0.02),
        ),
        train=TrainConfig(
            steps=4000, precision="bf16", ema_decay=0.998, eval_every=2000, checkpoint_every=500
        ),
    )
    return TokenizerSize(
        scale="small",
        run=run,
        ladder=((1, 4, 16), (1, 4, 16, 64), (1, 4, 16, 44, 108), lengths),
        few=1,
        num_bits=(7, 9, 11, num_bits),
        by_count=(
            (341,),
            (1, 4, 8, 12, 20, 40, 256),
            (1, 2, 4, 6, 8, 12, 16, 24, 40, 228),
        ),
        evener=(1, 4, 32, 112, 192),
        kl_dim=32,
        triplane=TriplaneConfig(
            resolution=11,
            dim=256,
            num_heads=4,
            encoder_layers=4,
            decoder_channels=(256, 128, 64),
            decoder_blocks=2,
            query_hidden=256,
            quantizer=model.quantizer,
        ),
        volume=VolumeConfig(
            grid=(7, 7, 7),
            dim=192,
            num_heads=4,
            channels=(32, 64),
            blocks=2,
            query_hidden=256,
            quantizer=model.quantizer,
        ),
        seeds=(0,),
        ladder_seeds=(0,),
        more_seeds=(0,),
        evaluation=(procedural_set(200, quick_settings()), mesh_set(quick_settings())),
    )


def paper() -> TokenizerSize:
    """The paper's sizes: L 2304, C 512, 12 + 16 layers, 16,384 points (Sec. 4.1, 4.2)."""
    run = tokenizer.paper()
    assert isinstance(run.model, CvqConfig)
    model = run.model
    return TokenizerSize(
        scale="paper",
        run=run,
        ladder=(
            (1, 4, 9, 16, 25, 49, 152),
            (1, 4, 9, 16, 25, 49, 472),
            (1, 4, 9, 16, 25, 49, 920),
            tokenizer.PAPER_SCALES,
        ),
        few=1,
        num_bits=(10, 11, 12, 13),
        by_count=(
            (2408,),
            (1, 25, 78, 2304),
            (1, 2, 4, 6, 9, 12, 16, 22, 32, 2304),
        ),
        evener=(1, 4, 16, 64, 256, 643, 1424),
        kl_dim=64,
        triplane=TriplaneConfig(
            resolution=28,
            dim=512,
            num_heads=8,
            encoder_layers=12,
            decoder_channels=(512, 256, 128),
            decoder_blocks=4,
            query_hidden=512,
            quantizer=model.quantizer,
        ),
        volume=VolumeConfig(
            grid=(13, 14, 13),
            dim=512,
            num_heads=8,
            channels=(64, 256),
            blocks=2,
            query_hidden=512,
            quantizer=model.quantizer,
        ),
        seeds=(0,),
        ladder_seeds=(0,),
        more_seeds=(0,),
        evaluation=(
            procedural_set(200, EvaluationSettings()),
            mesh_set(EvaluationSettings()),
        ),
    )


def smoke() -> TokenizerSize:
    """`toy` in seconds: every part of it, nothing learnt."""
    base = toy()
    lengths, num_bits = (1, 4, 8), 6
    quantizer = LfqConfig(num_bits=num_bits)
    model = replace(
        base.model,
        num_latents=8,
        dim=16,
        encoder_layers=1,
        decoder_layers=1,
        cqt=CqtConfig(scale_lengths=lengths),
        quantizer=quantizer,
    )
    shapes = tokenizer.smoke_shapes()
    run = replace(
        base.run,
        name="smoke",
        model=model,
        shapes=(shapes,),
        held_out=(tokenizer.smoke_shapes(held_out=True),),
        data=replace(
            base.run.data,
            batch_size=4,
            num_points=64,
            num_volume_queries=32,
            num_near_queries=32,
        ),
        validation=replace(
            base.run.validation,
            num_shapes=4,
            num_points=64,
            num_volume_queries=128,
            num_near_queries=64,
            batch_size=4,
        ),
        train=replace(tokenizer.smoke_train(base.run.train), steps=4, eval_every=4),
    )
    return TokenizerSize(
        scale="smoke",
        run=run,
        ladder=((1, 2, 4), lengths),
        few=0,
        num_bits=(3, num_bits),
        by_count=((13,),),
        evener=(1, 5, 7),
        kl_dim=4,
        triplane=replace(
            base.triplane,
            resolution=2,
            dim=16,
            decoder_channels=(4,),
            query_hidden=8,
            quantizer=quantizer,
        ),
        volume=replace(
            base.volume,
            grid=(2, 2, 3),
            dim=4,
            channels=(4,),
            query_hidden=16,
            quantizer=quantizer,
        ),
        seeds=(0,),
        ladder_seeds=(0,),
        more_seeds=(0,),
        evaluation=(procedural_set(2, smoke_settings()),),
    )


def toy_shapes(*, held_out: bool = False) -> PreparedShapes:
    """Procedural shapes with the points and queries that toy runs draw from, canonical picture."""
    name, num = ("val", 200) if held_out else ("train", 2048)
    return PreparedShapes(
        path=f"cache/procedural-toy-{name}",
        source=ProceduralSourceConfig(num=num, first_seed=HELD_OUT_SEEDS.start if held_out else 0),
        prepare=PrepareConfig(num_points=4096, num_volume_queries=8192, num_near_queries=8184),
        views=ViewsConfig(num_views=0),
    )


def toy_settings() -> EvaluationSettings:
    """A fortieth of the protocol's cost; its name in reports is `g3pt-eval-v1-custom`."""
    return EvaluationSettings(
        resolution=64,
        num_volume=20_000,
        num_prefix=8192,
        num_surface=10_000,
        num_near=10_000,
        truth_resolution=96,
    )


def smoke_settings() -> EvaluationSettings:
    """Hardly anything; everything that is measured is there."""
    return EvaluationSettings(
        resolution=16,
        num_volume=500,
        num_prefix=200,
        num_surface=200,
        num_near=200,
        truth_resolution=24,
    )


def procedural_set(num: int, settings: EvaluationSettings) -> EvaluationSet:
    """Held-out seeds of the training families that nothing was chosen by."""
    source = ProceduralSourceConfig(num=num, first_seed=REPORTED_SEEDS)
    return EvaluationSet(name="procedural", source=source, settings=settings)


def mesh_set(settings: EvaluationSettings) -> EvaluationSet:
    """The validation meshes of the folder `meshes`, where there is one; display colours."""
    source = FolderSourceConfig(path="meshes", split="val", gltf_colors="srgb")
    return EvaluationSet(name="meshes", source=source, settings=settings, optional=True)
