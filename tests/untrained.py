"""Weights with the right parts, small sizes and random numbers."""

from pathlib import Path


def write_untrained(folder: Path) -> None:
    """Write a weights folder of a tokenizer and a generator with image and text conditions."""
    import torch

    from g3pt.models.car import Car, CarConfig
    from g3pt.models.conditioning import ImageConditionConfig, TextConditionConfig
    from g3pt.models.cqt import CqtConfig
    from g3pt.models.cvq import CvqConfig, CvqTokenizer
    from g3pt.models.quantizers import LfqConfig
    from g3pt.models.weights.config import WeightsConfig
    from g3pt.models.weights.load import save_weights

    lengths, bits, dim = (1, 4, 16), 5, 32
    tokenizer_config = CvqConfig(
        num_latents=16,
        dim=dim,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        num_octaves=1,
        cqt=CqtConfig(scale_lengths=lengths),
        quantizer=LfqConfig(num_bits=bits),
    )
    words = ("a", "red", "mug", "table")
    car_config = CarConfig(
        scale_lengths=lengths,
        num_bits=bits,
        input_dim=dim,
        depth=2,
        width=32,
        num_heads=2,
        conditions=(
            ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2),
            TextConditionConfig(vocabulary=words, max_tokens=16, depth=1, width=32, num_heads=2),
        ),
    )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tokenizer, car = CvqTokenizer(tokenizer_config), Car(car_config)
    config = WeightsConfig(name="untrained", tokenizer=tokenizer_config, num_points=512)
    save_weights(folder, tokenizer, car, config=config, card="An untrained model for tests.\n")
