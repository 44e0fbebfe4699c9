"""Hashes are stored in files: none of them may change."""

import torch

from g3pt.hashes import file_sha256, json_sha256, tensors_sha256, text_key


def test_hashes_are_those_of_files_that_are_out_there(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")  # FIPS 180-4, B.1
    assert text_key("abc") == int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "little")
    # Written by the version before: `printf '{"a": 1, "b": [2]}' | sha256sum`.
    assert json_sha256({"b": [2], "a": 1}).startswith("ae8a9a5052464275")
    tensors = {"b": torch.arange(3, dtype=torch.int8), "a": torch.ones(2, 1)}
    assert tensors_sha256(tensors).startswith("37068d3ad651e9a2")


def test_tensors_are_told_apart_by_name_format_shape_and_value():
    ones = torch.ones(2, 2)
    others = [{"a": ones}, {"b": ones}, {"a": ones.half()}, {"a": ones.view(4)}, {"a": ones * 2}]
    assert len({tensors_sha256(each) for each in others}) == len(others)
    assert tensors_sha256({"a": ones.t()}) == tensors_sha256({"a": ones})
    assert tensors_sha256({"a": ones, "b": ones}) == tensors_sha256({"b": ones, "a": ones})
