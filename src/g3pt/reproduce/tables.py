"""Tables 2, 3 and 4: tokenizers side by side, with equal parameters in every row."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from g3pt.models.alternatives.kl import KlConfig
from g3pt.models.alternatives.pooling import PoolingConfig
from g3pt.models.alternatives.vq import VqConfig
from g3pt.models.cvq import CvqConfig, LatentSetConfig
from g3pt.models.quantizers import LfqConfig
from g3pt.models.tokenizers import TokenizerConfig
from g3pt.recipes.matching import matched, num_parameters
from g3pt.reproduce.experiments import Claim, Experiment, Scale, Variant
from g3pt.reproduce.tokenizer_sizes import TokenizerSize, size
from g3pt.training.kinds.tokenizer import TokenizerRun

SHARED = tuple(LatentSetConfig.__dataclass_fields__)


def table2(scale: Scale) -> Experiment:
    """VAE, VQ-VAE and CVQ at two token counts (Table 2)."""
    of = size(scale)
    few, many = cvq(of, of.ladder[of.few]), cvq(of, of.ladder[-1])
    pairs = (("few", few), ("many", many))
    variants = [
        *(kl(of, like, _TABLE2["vae", count]) for count, like in pairs),
        *(vq(of, like, _TABLE2["vqvae", count]) for count, like in pairs),
        *(replace(like, paper=_TABLE2["cvq", count]) for count, like in pairs),
    ]
    claims: list[Claim] = []
    for place, like in enumerate((few, many)):
        tokens = _num_tokens(like)
        claims += [
            _better(like, variants[2 + place], f"CVQ > VQ-VAE at {tokens} tokens"),
            _better(like, variants[place], f"CVQ > VAE at {tokens} tokens"),
            _better(
                like,
                variants[2 + place],
                f"CVQ uses more of the codebook than VQ-VAE at {tokens} tokens",
                metric="usage",
            ),
        ]
    for name, first in (("VAE", 0), ("VQ-VAE", 2), ("CVQ", 4)):
        text = f"{name}: more tokens, higher IoU"
        claims.append(_better(variants[first + 1], variants[first], text))
    return Experiment(
        name="table2",
        title="Table 2: VAE, VQ-VAE and CVQ at two token counts",
        scale=scale,
        variants=tuple(variants),
        claims=tuple(claims),
        evaluation=of.evaluation,
    )


def table3a(scale: Scale) -> Experiment:
    """CVQ with growing codebooks (Table 3a)."""
    of = size(scale)
    variants = [
        replace(cvq(of, of.ladder[-1], bits), paper=paper)
        for bits, paper in zip(of.num_bits, _rungs(_TABLE3A, len(of.num_bits)), strict=True)
    ]
    return Experiment(
        name="table3a",
        title="Table 3a: codebook sizes",
        scale=scale,
        variants=tuple(variants),
        claims=_rising(variants, lambda v: f"{2 ** _num_bits(v)} entries"),
        evaluation=of.evaluation,
        axis="codebook",
    )


def table3b(scale: Scale) -> Experiment:
    """CVQ with growing token counts (Table 3b)."""
    of = size(scale)
    variants = [
        replace(cvq(of, lengths), paper=paper)
        for lengths, paper in zip(of.ladder, _rungs(_TABLE3B, len(of.ladder)), strict=True)
    ]
    return Experiment(
        name="table3b",
        title="Table 3b: numbers of tokens",
        scale=scale,
        variants=tuple(variants),
        claims=_rising(variants, lambda v: f"{_num_tokens(v)} tokens"),
        evaluation=of.evaluation,
        axis="tokens",
    )


def table4(scale: Scale) -> Experiment:
    """Volume, triplane, pooled latents and CVQ (Table 4)."""
    of = size(scale)
    ours = cvq(of, of.ladder[-1])
    order = [
        replace(volume(of, ours), paper=_TABLE4["volume"]),
        replace(triplane(of, ours), paper=_TABLE4["triplane"]),
        replace(pooling(of, ours), paper=_TABLE4["pooling"]),
        replace(ours, paper=_TABLE4["cvq"]),
    ]
    claims: list[Claim] = []
    for metric in ("iou", "near_accuracy"):
        for worse, better in pairwise(order):
            name = {"iou": "IoU", "near_accuracy": "accuracy"}[metric]
            text = f"{short_name(better)} > {short_name(worse)} in {name}"
            claims.append(_better(better, worse, text, metric=metric))
    return Experiment(
        name="table4",
        title="Table 4: 3D representations and encodings",
        scale=scale,
        variants=tuple(order),
        claims=tuple(claims),
        evaluation=of.evaluation,
    )


# --- rows ----------------------------------------------------------------------------------


def trained_longer(variant: Variant, factor: int) -> Variant:
    """The same row with `factor` times the steps."""
    train = replace(variant.run.train, steps=factor * variant.run.train.steps)
    return replace(
        variant,
        name=f"{variant.name}-x{factor}",
        label=f"{variant.label}, {factor} times the steps",
        run=replace(variant.run, train=train),
    )


def cvq(of: TokenizerSize, lengths: tuple[int, ...], num_bits: int | None = None) -> Variant:
    """CVQ with some scale lengths and bits."""
    bits = of.num_bits[-1] if num_bits is None else num_bits
    shared = (of.ladder[of.few], of.ladder[-1])
    model = replace(
        of.model,
        num_latents=lengths[-1],
        cqt=replace(of.model.cqt, scale_lengths=lengths),
        quantizer=LfqConfig(num_bits=bits),
    )
    return Variant(
        name=f"cvq-{sum(lengths)}-{bits}bit",
        label=f"CVQ, {sum(lengths)} tokens, {2**bits} entries",
        run=replace(of.run, model=model),
        seeds=of.seeds if bits == of.num_bits[-1] and lengths in shared else of.ladder_seeds,
    )


def vq(of: TokenizerSize, like: Variant, paper: dict[str, float]) -> Variant:
    """Single-scale VQ-VAE with the tokens, bits and parameters of a CVQ."""
    model = _cvq_model(like)
    config = VqConfig(**_shared(model, num_latents=model.cqt.num_tokens), quantizer=model.quantizer)
    label = f"VQ-VAE, {config.num_latents} tokens"
    return replace(_rival(of, f"vq-{config.num_latents}", label, config, like), paper=paper)


def kl(of: TokenizerSize, like: Variant, paper: dict[str, float]) -> Variant:
    """KL-VAE with as many latents as a CVQ has tokens, and its parameters."""
    model = _cvq_model(like)
    config = KlConfig(**_shared(model, num_latents=model.cqt.num_tokens), latent_dim=of.kl_dim)
    label = f"VAE, {config.num_latents} latents of {of.kl_dim}"
    return replace(_rival(of, f"kl-{config.num_latents}", label, config, like), paper=paper)


def pooling(of: TokenizerSize, like: Variant) -> Variant:
    """Average pooling and interpolation in place of the CQT."""
    model = _cvq_model(like)
    config = PoolingConfig(
        **_shared(model), scale_lengths=model.cqt.scale_lengths, quantizer=model.quantizer
    )
    label = f"1D latent, pooling + LFQ, {sum(config.scale_lengths)} tokens"
    return _rival(of, f"pooling-{sum(config.scale_lengths)}", label, config, like)


def triplane(of: TokenizerSize, like: Variant) -> Variant:
    """Three planes of tokens."""
    return _rival(of, "triplane", "Triplane, learnable query + LFQ", of.triplane, like)


def volume(of: TokenizerSize, like: Variant) -> Variant:
    """A coarse grid of tokens."""
    return _rival(of, "volume", "Volume, 3D CNN + LFQ", of.volume, like)


def _rival(
    of: TokenizerSize, name: str, label: str, config: TokenizerConfig, like: Variant
) -> Variant:
    model = matched(config, num_parameters(tokenizer_run(like).model))
    return Variant(name=name, label=label, run=replace(of.run, model=model), seeds=of.seeds)


def _shared(model: CvqConfig, **changes: int) -> dict[str, Any]:
    return {name: getattr(model, name) for name in SHARED} | changes


def tokenizer_run(variant: Variant) -> TokenizerRun:
    """The run of a row that is known to be a tokenizer's."""
    assert isinstance(variant.run, TokenizerRun)
    return variant.run


def _cvq_model(variant: Variant) -> CvqConfig:
    model = tokenizer_run(variant).model
    assert isinstance(model, CvqConfig)
    return model


def _num_tokens(variant: Variant) -> int:
    return _cvq_model(variant).cqt.num_tokens


def _num_bits(variant: Variant) -> int:
    return _cvq_model(variant).quantizer.num_bits


def short_name(variant: Variant) -> str:
    """What a kind of tokenizer is called in comparisons."""
    names = {"cvq": "CVQ", "kl": "VAE", "vq": "VQ-VAE"}
    kind = tokenizer_run(variant).model.kind
    return names.get(kind, kind)


def _better(better: Variant, worse: Variant, text: str, *, metric: str = "iou") -> Claim:
    return Claim(text=text, better=better.name, worse=worse.name, metric=metric)


def _rising(variants: list[Variant], name: Callable[[Variant], str]) -> tuple[Claim, ...]:
    """Every rung is better than the one below it, and the last than the first."""
    pairs = list(pairwise(variants))
    if len(pairs) > 1:
        pairs.append((variants[0], variants[-1]))
    return tuple(
        _better(above, below, f"IoU rises from {name(below)} to {name(above)}")
        for below, above in pairs
    )


# --- the paper's numbers -------------------------------------------------------------------

_COLUMNS = ("iou", "chamfer", "fscore", "accuracy", "usage")

_TABLE2: dict[tuple[str, str], dict[str, float]] = {
    ("vae", "few"): dict(zip(_COLUMNS, (89.20, 0.0126, 84.10, 95.24), strict=False)),
    ("vae", "many"): dict(zip(_COLUMNS, (89.60, 0.0118, 85.80, 95.80), strict=False)),
    ("vqvae", "few"): dict(zip(_COLUMNS, (85.32, 0.0134, 80.15, 85.59, 96.34), strict=True)),
    ("vqvae", "many"): dict(zip(_COLUMNS, (87.43, 0.0131, 80.53, 88.32, 92.96), strict=True)),
    ("cvq", "few"): dict(zip(_COLUMNS, (89.38, 0.0122, 85.70, 95.27, 99.51), strict=True)),
    ("cvq", "many"): dict(zip(_COLUMNS, (90.35, 0.0108, 87.23, 97.13, 97.13), strict=True)),
}
_TABLE3A: list[dict[str, float]] = [
    dict(zip(("codebook", *_COLUMNS), row, strict=False))
    for row in (
        (1024, 85.43, 0.0122, 81.25, 92.96),
        (2048, 86.65, 0.0115, 86.36, 94.44),
        (4096, 89.32, 0.0119, 87.46, 96.21),
        (8192, 90.35, 0.0108, 87.23, 97.13),
    )
]
_TABLE3B: list[dict[str, float]] = [
    dict(zip(("tokens", *_COLUMNS), row, strict=False))
    for row in (
        (256, 84.31, 0.0125, 80.18, 93.32),
        (576, 89.38, 0.0122, 85.70, 95.27),
        (1024, 89.51, 0.0119, 86.86, 96.58),
        (2408, 90.35, 0.0108, 87.23, 97.13),
    )
]
_TABLE4: dict[str, dict[str, float]] = {
    "volume": dict(zip(_COLUMNS, (85.29, 0.0114, 78.66, 86.89, 91.34), strict=True)),
    "triplane": dict(zip(_COLUMNS, (86.13, 0.0120, 80.12, 90.44, 89.34), strict=True)),
    "pooling": dict(zip(_COLUMNS, (89.51, 0.0139, 86.86, 93.80, 99.50), strict=True)),
    "cvq": dict(zip(_COLUMNS, (90.35, 0.0108, 87.23, 97.13, 97.13), strict=True)),
}


def _rungs(rows: list[dict[str, float]], num: int) -> list[dict[str, float]]:
    """The paper's rows, the largest last; fewer of them for fewer rungs."""
    return rows[-num:]
