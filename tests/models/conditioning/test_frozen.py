"""Encoders of others, with random weights of their architecture in a local folder: no network."""

import io
import os
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from conditions import draw_conditions, draw_pictures
from frozen_folders import write_clip, write_dinov2
from g3pt.models.car import Car, CarConfig
from g3pt.models.conditioning import (
    ClipConditionConfig,
    ConditionBatch,
    Conditioner,
    DinoConditionConfig,
)
from g3pt.models.conditioning.frozen import frozen_fingerprint, load_frozen
from g3pt.models.conditioning.pixels import read_pixels
from g3pt.models.weights.config import WeightsConfig
from g3pt.models.weights.load import load_weights, save_weights


@pytest.fixture(scope="module")
def dinov2(frozen_sources):
    return frozen_sources["dinov2"]


@pytest.fixture(scope="module")
def clip(frozen_sources):
    return frozen_sources["clip"]


def text_ids(config, *texts):
    return torch.tensor(config.build_tokenizer().encode_batch(texts))


@pytest.mark.parametrize(("side", "num_tokens"), [(224, 257), (518, 1370)])
def test_pictures_become_a_token_a_patch_and_a_class_token(dinov2, side, num_tokens):
    config = DinoConditionConfig(source=dinov2.source, width=16, image_size=side)
    assert config.num_tokens == num_tokens
    output = Conditioner((config,), 24)(
        ConditionBatch(batch_size=1, pictures_BSS4=draw_pictures(1, side))
    )
    assert output.tokens_BID.shape == (1, num_tokens, 24)


def test_pictures_are_normalised_as_the_model_was_trained(dinov2):
    pictures = draw_pictures(2, 224)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        pixels = read_pixels(pictures, alpha=False)
        expected = load_frozen("dinov2", dinov2.source)(pixel_values=(pixels - mean) / std)
    output = Conditioner((dinov2,), 24).conditions["image"].encoder(pictures)
    torch.testing.assert_close(output.tokens_BID, expected.last_hidden_state)
    torch.testing.assert_close(output.vector_BD, expected.pooler_output)


def test_texts_become_77_tokens_whatever_their_length(clip):
    ids = text_ids(clip, "a red chair", "chair", "a red " * 60)
    assert ids.shape == (3, 77)
    output = Conditioner((clip,), 24)(ConditionBatch(batch_size=3, text_ids_BN=ids))
    assert output.tokens_BID.shape == (3, 77, 24)
    assert output.valid_BI is None


def test_the_vector_of_a_text_is_that_of_its_end(clip):
    ids = text_ids(clip, "a red chair", "chair")
    output = Conditioner((clip,), 24).conditions["text"].encoder(ids)
    ends = (ids == ids.max()).int().argmax(dim=1)
    assert ends.tolist() == [10, 6]
    torch.testing.assert_close(output.vector_BD, output.tokens_BID[torch.arange(2), ends])


def test_the_tokenizer_is_that_of_the_folder(clip):
    tokenizer = clip.build_tokenizer()
    assert tokenizer.encode("Chair") == tokenizer.encode("chair")
    assert tokenizer.encode("chair") != tokenizer.encode("a chair")
    assert tokenizer.encode("chair") == tokenizer.encode_batch(["chair", "red"])[0]


def test_features_made_earlier_stand_in_for_the_encoders(dinov2, clip):
    conditioner = Conditioner((dinov2, clip), 24)
    pictures, ids = draw_pictures(2, 224), text_ids(clip, "a red chair", "chair")
    online = conditioner(ConditionBatch(batch_size=2, pictures_BSS4=pictures, text_ids_BN=ids))
    image, text = (conditioner.conditions[slot].encoder for slot in ("image", "text"))
    image, text = image(pictures), text(ids)
    cached = conditioner(
        ConditionBatch(
            batch_size=2,
            image_features_BIE=image.tokens_BID.half(),
            image_summary_BE=image.vector_BD.half(),
            text_features_BNE=text.tokens_BID.half(),
            text_summary_BE=text.vector_BD.half(),
        )
    )
    # float16 keeps eleven bits of features of order one
    torch.testing.assert_close(online.tokens_BID, cached.tokens_BID, atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(online.vector_BD, cached.vector_BD, atol=5e-3, rtol=5e-3)


def test_frozen_encoders_are_not_trained_and_get_no_gradient(dinov2, clip):
    conditioner = Conditioner((dinov2, clip), 24)
    names = [name for name, _ in conditioner.named_parameters()]
    assert not any(".encoder." in name for name in names)
    batch = ConditionBatch(
        batch_size=2, pictures_BSS4=draw_pictures(2, 224), text_ids_BN=text_ids(clip, "red", "a")
    )
    output = conditioner.train()(batch)
    (output.tokens_BID.sum() + output.vector_BD.sum()).backward()
    assert conditioner.conditions["image"].to_tokens.weight.grad.any()
    for architecture, config in (("dinov2", dinov2), ("clip", clip)):
        model = load_frozen(architecture, config.source)
        assert not model.training
        assert all(not p.requires_grad and p.grad is None for p in model.parameters())


def test_weights_hold_the_projections_alone_and_load_again(dinov2, tmp_path, tiny_weights):
    tokenizer = load_weights(tiny_weights).tokenizer
    config = CarConfig(
        scale_lengths=(1, 4, 16),
        num_bits=5,
        input_dim=32,
        depth=1,
        width=32,
        num_heads=2,
        conditions=(dinov2,),
    )
    car = Car(config).eval()
    condition = ConditionBatch(batch_size=2, pictures_BSS4=draw_pictures(2, 224))
    before = car.encode_condition(condition)
    wanted = WeightsConfig(name="w", storage="float32", tokenizer=tokenizer.config)
    save_weights(tmp_path / "w", tokenizer, car, config=wanted)
    frozen = sum(p.numel() for p in load_frozen("dinov2", dinov2.source).parameters())
    stored = sum(p.numel() for model in (car, tokenizer) for p in model.state_dict().values())
    size = (tmp_path / "w" / "model.safetensors").stat().st_size
    assert 4 * stored < size < 4 * (stored + frozen)
    again = load_weights(tmp_path / "w", "cpu").car.encode_condition(condition)
    assert torch.equal(before.tokens_BID, again.tokens_BID)


def test_the_fingerprint_tells_encoders_apart(dinov2, tmp_path):
    ours = frozen_fingerprint("dinov2", dinov2.source)
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    other = write_dinov2(tmp_path / "other", **sizes)
    assert frozen_fingerprint("dinov2", other) != ours
    torch.manual_seed(0)
    same = write_dinov2(tmp_path / "same", **sizes)
    assert frozen_fingerprint("dinov2", same) == ours


def test_loading_leaves_the_random_state_alone(tmp_path):
    source = write_dinov2(
        tmp_path / "d", hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    before = torch.get_rng_state()
    load_frozen("dinov2", source)
    assert torch.equal(before, torch.get_rng_state())


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    source = write_dinov2(tmp_path / "d", **sizes)
    tensors = load_file(tmp_path / "d" / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, tmp_path / "d" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks layernorm.weight \(1 tensors are missing\)"):
        load_frozen("dinov2", source)


def test_a_folder_that_does_not_exist_is_named():
    pytest.importorskip("transformers", reason="needs g3pt[hub]")
    with pytest.raises(FileNotFoundError, match="no/such/folder: no such folder; dinov2"):
        load_frozen("dinov2", "no/such/folder")


@pytest.mark.parametrize("config", [DinoConditionConfig, ClipConditionConfig])
@pytest.mark.parametrize(
    "source", ["hub:owner/name", "hub:owner/name@main", "hub:owner@" + 40 * "a"]
)
def test_a_hub_model_without_a_pinned_revision_is_refused(config, source):
    with pytest.raises(ValueError, match="expected hub:OWNER/NAME@COMMIT"):
        config(source=source)


def test_a_source_must_be_named():
    with pytest.raises(ValueError, match=r"dinov2\.source is empty"):
        DinoConditionConfig(source="")


def test_without_transformers_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'g3pt\[hub\]'"):
        load_frozen("clip", "anything")


def test_a_model_of_another_width_is_refused(dinov2, clip):
    wider = DinoConditionConfig(source=dinov2.source, width=32)
    with pytest.raises(ValueError, match="expected 257 tokens of 32 channels, got"):
        Conditioner((wider,), 24)(ConditionBatch(batch_size=1, pictures_BSS4=draw_pictures(1, 224)))
    wider = ClipConditionConfig(source=clip.source, width=32)
    with pytest.raises(ValueError, match="expected 32 channels, got 16"):
        Conditioner((wider,), 24)(ConditionBatch(batch_size=1, text_ids_BN=text_ids(clip, "a")))


def test_inputs_of_another_size_are_refused(dinov2, clip):
    with pytest.raises(ValueError, match="224 x 224 pictures, got side 28"):
        Conditioner((dinov2,), 24)(ConditionBatch(batch_size=1, pictures_BSS4=draw_pictures(1, 28)))
    with pytest.raises(ValueError, match="77 ids a text, got 3"):
        Conditioner((clip,), 24)(
            ConditionBatch(batch_size=1, text_ids_BN=torch.zeros(1, 3, dtype=torch.int64))
        )


@pytest.mark.parametrize("side", [20, 7])
def test_pictures_must_be_whole_patches(side):
    with pytest.raises(ValueError, match=f"image_size {side} is not a multiple of patch_size 14"):
        DinoConditionConfig(image_size=side)


@pytest.mark.slow
def test_the_encoders_of_the_paper_have_their_sizes(tmp_path):
    dinov2 = DinoConditionConfig(source=write_dinov2(tmp_path / "dinov2"))
    encoder = Conditioner((dinov2,), 24).conditions["image"].encoder
    assert encoder(draw_pictures(1, 224)).tokens_BID.shape == (1, 257, 1024)
    assert sum(p.numel() for p in load_frozen("dinov2", dinov2.source).parameters()) > 3.0e8
    # On the meta device, where the same forward pass gives sizes and takes no time.
    encoder = Conditioner((replace(dinov2, image_size=518),), 24).conditions["image"].encoder
    pictures = torch.empty(1, 518, 518, 4, dtype=torch.uint8, device="meta")
    assert encoder(pictures).tokens_BID.shape == (1, 1370, 1024)
    clip = ClipConditionConfig(source=write_clip(tmp_path / "clip"))
    output = Conditioner((clip,), 24).conditions["text"].encoder(text_ids(clip, "a red chair"))
    assert output.tokens_BID.shape == (1, 77, 768)
    assert output.vector_BD.shape == (1, 768)
    assert sum(p.numel() for p in load_frozen("clip", clip.source).parameters()) > 1.2e8
    load_frozen.cache_clear()


def test_drawn_features_have_the_shapes_that_encoders_give(dinov2, clip):
    """Other tests stand in for frozen encoders with these."""
    batch = draw_conditions((dinov2, clip))
    image = Conditioner((dinov2,), 24).conditions["image"].encoder(draw_pictures(2, 224))
    assert batch.image_features_BIE.shape[1:] == image.tokens_BID.shape[1:]
    assert batch.image_summary_BE.shape[1:] == image.vector_BD.shape[1:]
    text = Conditioner((clip,), 24).conditions["text"].encoder(text_ids(clip, "a"))
    assert batch.text_features_BNE.shape[1:] == text.tokens_BID.shape[1:]
    assert batch.text_summary_BE.shape[1:] == text.vector_BD.shape[1:]


class Program:
    """Makes a folder where its pickle is opened."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def pickled(name, folder):
    """A file of weights of some kind that holds a program."""
    content = io.BytesIO()
    match name.rpartition(".")[2]:
        case "npy":
            np.save(content, np.array([Program(folder)]), allow_pickle=True)
        case "npz":
            np.savez(content, allow_pickle=True, weight=np.array([Program(folder)]))
        case _:
            torch.save({"weight": Program(folder)}, content)
    return content.getvalue()


@pytest.mark.parametrize("architecture", ["dinov2", "clip"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.npz", "model.npy"])
def test_pickled_weights_of_an_encoder_are_refused_unopened_with_advice(
    tmp_path, architecture, name
):
    pytest.importorskip("transformers", reason="needs g3pt[hub]")
    (tmp_path / "config.json").write_text(
        '{"model_type": "dinov2", "auto_map": {"AutoModel": "evil.Model"}}'
    )
    (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'was-run')!r})\n")
    (tmp_path / name).write_bytes(pickled(name, tmp_path / "was-run"))
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(
            ValueError, match=rf"^{re.escape(str(source))}: .*{name} may be a pickle.*safetensors"
        ):
            load_frozen(architecture, str(source))
    (tmp_path / "model.safetensors").write_bytes((tmp_path / name).read_bytes())
    with pytest.raises(ValueError, match=r"model\.safetensors: .*safetensors"):
        load_frozen(architecture, str(tmp_path))
    assert not (tmp_path / "was-run").exists()


def test_a_pickle_in_the_place_of_a_bundled_network_is_refused_unopened(tmp_path, monkeypatch):
    from g3pt.models import cutout
    from g3pt.models.conditioning import efficientnet_weights

    file = tmp_path / "model.safetensors"
    file.write_bytes(pickled("model.pth", tmp_path / "was-run"))
    cpu = torch.device("cpu")
    monkeypatch.setattr(cutout, "bundled_file", lambda: file)
    monkeypatch.setattr(efficientnet_weights, "bundled_file", lambda: file)
    with pytest.raises(ValueError, match=rf"BUNDLED_SHA256 is .*{re.escape(str(file))}"):
        cutout.load_u2netp.__wrapped__(cpu)
    with pytest.raises(ValueError, match=rf"efficientnet\.sha256 is .*{re.escape(str(file))}"):
        efficientnet_weights.load_efficientnet.__wrapped__(efficientnet_weights.BUNDLED_SHA256, cpu)
    assert not (tmp_path / "was-run").exists()
