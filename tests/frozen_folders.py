"""Local folders of encoders with random weights, as transformers writes them: no network."""

import json

import pytest
import torch

WORDS = ["chair", "red", "a"]


def save_random(model_class, config, folder):
    """Draw every weight; the library's own initialisation of a large model takes a minute."""
    with torch.device("meta"):
        model = model_class(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.1, 0.1)
    model.save_pretrained(folder)


def write_dinov2(folder, **sizes):
    """A DINOv2 with random weights; ViT-L/14 where no sizes are given."""
    transformers = pytest.importorskip("transformers", reason="needs g3pt[hub]")
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = transformers.Dinov2Config(image_size=518, patch_size=14, **(large | sizes))
    save_random(transformers.Dinov2Model, config, folder)
    return str(folder)


def write_clip(folder, **sizes):
    """A text tower of CLIP with random weights and a small vocabulary; L where no sizes."""
    transformers = pytest.importorskip("transformers", reason="needs g3pt[hub]")
    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    start, end = len(pieces), len(pieces) + 1
    vocabulary |= {"<|startoftext|>": start, "<|endoftext|>": end}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    large = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
    large |= {"intermediate_size": 3072, "max_position_embeddings": 77, "vocab_size": 49408}
    ends = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    config = transformers.CLIPTextConfig(**(large | ends | sizes))
    save_random(transformers.CLIPTextModel, config, folder)
    return str(folder)
