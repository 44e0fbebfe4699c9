"""A small condition of every kind, and inputs for any of them: tests run over all kinds."""

from typing import get_args

import torch

from g3pt.models.conditioning import (
    ClassConditionConfig,
    ClipConditionConfig,
    ConditionBatch,
    ConditionConfig,
    DinoConditionConfig,
    ImageConditionConfig,
    PointsConditionConfig,
    PretrainedImageConditionConfig,
    TextConditionConfig,
)

WIDTH = 16
"""Of every encoder, and of the latents that the points condition reads."""

KINDS: dict[str, ConditionConfig] = {
    config.kind: config
    for config in (
        ImageConditionConfig(image_size=16, patch_size=4, depth=1, width=WIDTH, num_heads=2),
        PretrainedImageConditionConfig(image_size=32, depth=1, width=WIDTH, num_heads=2),
        DinoConditionConfig(image_size=28, width=WIDTH),
        TextConditionConfig(
            vocabulary=("red", "chair"), max_tokens=12, depth=1, width=WIDTH, num_heads=2
        ),
        ClipConditionConfig(max_tokens=7, width=WIDTH),
        PointsConditionConfig(width=WIDTH),
        ClassConditionConfig(num_classes=4, width=WIDTH),
    )
}

SEVERAL_VIEWS: dict[str, ConditionConfig] = {
    "image of several views": ImageConditionConfig(
        image_size=16, patch_size=4, depth=1, width=WIDTH, num_heads=2, max_views=3
    ),
    "dinov2 of several views": DinoConditionConfig(image_size=28, width=WIDTH, max_views=3),
}

REPEATED_NULL: dict[str, ConditionConfig] = {
    "image with a repeated null": ImageConditionConfig(
        image_size=16, patch_size=4, depth=1, width=WIDTH, num_heads=2, null="repeated"
    ),
}

DISTILLED_WORDS: dict[str, ConditionConfig] = {
    "text with distilled words": TextConditionConfig(
        vocabulary=("red",), max_tokens=12, depth=1, width=WIDTH, num_heads=2, words="distilled"
    ),
}

COMBINATIONS: dict[str, tuple[ConditionConfig, ...]] = {
    **{
        name: (config,)
        for name, config in (KINDS | SEVERAL_VIEWS | REPEATED_NULL | DISTILLED_WORDS).items()
    },
    "all that are trained": (KINDS["image"], KINDS["text"], KINDS["points"], KINDS["class"]),
    "all with frozen encoders": (
        SEVERAL_VIEWS["dinov2 of several views"],
        KINDS["clip"],
        KINDS["points"],
        KINDS["class"],
    ),
}
"""What models are built with in tests that must hold for every condition."""

assert {type(config) for config in KINDS.values()} == set(get_args(ConditionConfig))


def draw_pictures(*sizes: int, generator: torch.Generator | int = 0) -> torch.Tensor:
    """Random RGBA bytes; the last size is the side of the pictures."""
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    return torch.randint(256, (*sizes, sizes[-1], 4), dtype=torch.uint8, generator=generator)


def draw_conditions(configs: tuple[ConditionConfig, ...], num: int = 3) -> ConditionBatch:
    """Seeded inputs of each condition; frozen encoders are stood in for by random features."""
    generator = torch.Generator().manual_seed(5)
    fields: dict[str, torch.Tensor] = {}

    def rand(*sizes: int) -> torch.Tensor:
        return torch.rand(num, *sizes, generator=generator)

    for config in configs:
        views = (3,) if getattr(config, "max_views", 1) > 1 else ()
        if views:
            fields["num_views_B"] = torch.arange(num) % 3 + 1
        match config:
            case (
                ImageConditionConfig(image_size=side)
                | PretrainedImageConditionConfig(image_size=side)
            ):
                fields["pictures_BSS4"] = draw_pictures(num, *views, side, generator=generator)
            case DinoConditionConfig():
                fields["image_features_BIE"] = rand(*views, config.num_tokens, WIDTH)
                fields["image_summary_BE"] = rand(*views, WIDTH)
            case TextConditionConfig():
                texts = ["red chair", "chair", "red red red"]
                ids = torch.tensor(config.build_tokenizer().encode_batch(texts))
                fields["text_ids_BN"] = ids[torch.arange(num) % 3]
            case ClipConditionConfig(max_tokens=length):
                fields["text_features_BNE"] = rand(length, WIDTH)
                fields["text_summary_BE"] = rand(WIDTH)
            case PointsConditionConfig():
                fields["point_latents_BLC"] = rand(6, WIDTH)
            case ClassConditionConfig(num_classes=classes):
                fields["labels_B"] = torch.arange(num) % classes
    return ConditionBatch(batch_size=num, **fields)


def dropped_field(config: ConditionConfig) -> str:
    """The mask of the batch that takes this condition away."""
    names = {"image": "images", "text": "text", "points": "points", "class": "labels"}
    return f"{names[config.slot]}_dropped_B"
