"""Files appear whole or not at all."""

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from g3pt.files import (
    MAX_JSON_BYTES,
    BusyError,
    alone_in,
    check_plain,
    map_array,
    naming,
    read_json,
    read_plain,
    read_text,
    staying,
    whole_folder,
    write_array_whole,
    write_tensors_whole,
    write_whole,
)


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path):
    file = tmp_path / "a.txt"
    write_whole(file, b"one")
    write_whole(file, "zwölf")
    assert file.read_text(encoding="utf-8") == "zwölf"
    assert list(tmp_path.iterdir()) == [file]


def test_bytes_of_names_that_are_no_text_are_escaped_in_text(tmp_path: Path):
    write_whole(tmp_path / "a.txt", f"made of {os.fsdecode(b'a' + bytes([255]))}")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "made of a\\udcff"


def test_an_array_is_written_whole_and_comes_back(tmp_path: Path):
    import numpy as np

    array = np.arange(6, dtype=np.float16).reshape(2, 3).T  # not contiguous
    write_array_whole(tmp_path / "a.npy", array)
    assert np.array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_array_whole(tmp_path / "b.npy", np.array([{}]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("header", [b"[", b"-" * 8000 + b"1", b"{'descr': 'zzz'}"])
def test_an_array_whose_header_is_damaged_is_refused_with_a_reason(tmp_path: Path, header: bytes):
    file = tmp_path / "a.npy"
    file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError) as refused:
        map_array(file)
    said = str(refused.value)
    assert type(refused.value) is ValueError and said and "\n" not in said


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path, kind: type[BaseException]):
    folder = tmp_path / "above" / "new"
    with pytest.raises(kind, match="refused"), whole_folder(folder, parents=True) as place:
        write_whole(place / "a.txt", b"one")
        assert not folder.exists()
        raise kind("refused")
    assert list(tmp_path.iterdir()) == []
    with whole_folder(folder, parents=True) as place:
        write_whole(place / "a.txt", b"one")
    assert [path.name for path in tmp_path.rglob("*")] == ["above", "new", "a.txt"]


def test_errors_name_the_files_of_a_new_folder_as_they_would_have_been(tmp_path: Path):
    folder = tmp_path / "new"
    with pytest.raises(FileNotFoundError) as caught, whole_folder(folder) as place:
        write_whole(place / "none" / "a.txt", b"one")
    assert caught.value.filename == str(folder / "none" / "a.txt")
    with pytest.raises(FileNotFoundError) as caught, whole_folder(folder / "below"):
        pytest.fail("made the folders above it")
    assert caught.value.filename == str(folder / "below")


def test_what_a_killed_process_left_of_a_new_folder_is_removed_by_the_next(tmp_path: Path):
    filling = (
        "import sys\nfrom pathlib import Path\nfrom g3pt.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as place:\n"
        "    (place / 'a.txt').write_text('one')\n    print(place.name, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    folder, other, file = (tmp_path / name for name in ("new", ".new.txt.1-1.tmp", ".new.1-1.tmp"))
    other.mkdir()
    file.touch()
    command = [sys.executable, "-c", filling, str(folder)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        left = tmp_path / process.stdout.readline().strip()
        with pytest.raises(ValueError, match="refused"), whole_folder(folder):
            raise ValueError("refused")
        assert (left / "a.txt").read_text(encoding="utf-8") == "one", "its process is at work"
        process.kill()
    assert left.is_dir()
    with whole_folder(folder):
        pass
    assert sorted(tmp_path.iterdir()) == [file, other, folder]


def test_files_of_a_folder_that_is_there_are_replaced_one_by_one(tmp_path: Path):
    write_whole(tmp_path / "a.txt", b"one")
    with pytest.raises(ValueError, match="refused"), whole_folder(tmp_path) as place:
        assert place == tmp_path
        write_whole(place / "b.txt", b"two")
        raise ValueError("refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_what_was_there_stays_when_writing_fails(tmp_path: Path, monkeypatch):
    file = tmp_path / "a.txt"
    write_whole(file, b"one")

    def fail(_: int) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_whole(file, b"two")
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]


def test_files_are_as_readable_as_others(tmp_path: Path):
    write_whole(tmp_path / "a.txt", b"one")
    (tmp_path / "b.txt").write_bytes(b"one")
    first, second = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt"))
    assert first == second


class RefusedError(Exception):
    """What the reader of some kind of file raises."""


def test_a_plain_file_is_read_up_to_its_limit(tmp_path: Path):
    file = tmp_path / "a"
    file.write_bytes(b"1234")
    assert read_plain(file, 4) == b"1234"
    with pytest.raises(RefusedError, match="a: has 4 bytes, expected at most 3"):
        read_plain(file, 3, RefusedError)


def test_what_is_not_there_is_no_such_file_whatever_the_reader_raises(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="none: no such file"):
        check_plain(tmp_path / "none", 9, RefusedError)


def test_folders_pipes_and_impossible_names_are_refused_unread(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("", "pipe"):
        with pytest.raises(RefusedError, match="is no plain file"):
            read_plain(tmp_path / name, 9, RefusedError)
    for name in ("loop", "zero\0byte"):
        with pytest.raises(RefusedError, match="cannot be read"):
            read_plain(tmp_path / name, 9, RefusedError)


def test_a_file_that_fails_while_it_is_read_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")

    def fail(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(RefusedError, match=r"a: cannot be read \(Input/output error\)"):
        read_plain(tmp_path / "a", 9, RefusedError)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'"\xff"', "is not text in UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"{", "a: not JSON: Expecting"),
    ],
)
def test_a_file_that_is_not_json_is_refused_with_the_reason(tmp_path: Path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(RefusedError, match=words):
        read_json(tmp_path / "a", RefusedError)


def test_text_is_read_up_to_its_limit_and_without_its_mark(tmp_path: Path):
    file = tmp_path / "card.md"
    file.write_bytes(b"\xef\xbb\xbf# A card\n")
    assert read_text(file) == "# A card\n"
    with pytest.raises(OSError, match=r"card\.md: has 12 bytes, expected at most 11"):
        read_text(file, OSError, most=11)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"card\.md: is not text in UTF-8"):
        read_text(file)


def test_json_has_a_largest_size(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"1")
    assert read_json(tmp_path / "a") == 1
    os.truncate(tmp_path / "a", MAX_JSON_BYTES + 1)  # takes no place on the disk
    with pytest.raises(RefusedError, match="expected at most"):
        read_json(tmp_path / "a", RefusedError)


def test_json_has_a_largest_number_of_objects_and_arrays(monkeypatch: pytest.MonkeyPatch):
    from g3pt import files

    monkeypatch.setattr(files, "MAX_JSON_BRACKETS", 3)
    assert files.parse_json(b'[{}, {"a": 1}]', "a") == [{}, {"a": 1}]
    with pytest.raises(RefusedError, match="a: has 4 objects and arrays, expected at most 3"):
        files.parse_json(b"[{},{},[]]", "a", RefusedError)


def test_a_folder_is_held_by_one(tmp_path: Path):
    with alone_in(tmp_path):
        with pytest.raises(BusyError, match=f"{tmp_path}: another process is working on it"):
            with alone_in(tmp_path):
                pytest.fail("both hold it")
    with alone_in(tmp_path):
        pass


def test_a_folder_that_is_gone_is_told_from_a_file_that_is(tmp_path: Path):
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(FileNotFoundError):
        with staying(folder):
            (folder / "none").read_bytes()
    with pytest.raises(RuntimeError, match="work: has been removed during the work"):
        with staying(folder):
            folder.rmdir()
            (folder / "none").read_bytes()


def test_nothing_but_plain_files_is_replaced(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match=f"Is no plain file, and is not replaced.*{name}"):
            write_whole(tmp_path / name, b"one")
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


def test_errors_of_the_system_name_the_file_and_others_stay_as_they_are(tmp_path: Path):
    with pytest.raises(OSError, match=r"No space left on device: .*a\.txt") as caught:
        with naming(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(OSError, match=r"^of no number$"):
        with naming(tmp_path / "a.txt"):
            raise OSError("of no number")


def test_tensors_that_do_not_fit_leave_nothing_and_name_the_file(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*a\.safetensors") as caught:
            write_tensors_whole(path, {"a": torch.ones(5000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_errors_of_safetensors_that_are_none_of_the_system_stay_as_they_are(
    tmp_path: Path, monkeypatch
):
    # No tensors of torch are known for which it has such an error.
    def fail(*_: object) -> None:
        raise SafetensorError("a header that is none")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(SafetensorError, match="a header that is none"):
        write_tensors_whole(tmp_path / "a.safetensors", {"a": torch.ones(2)})
    assert list(tmp_path.iterdir()) == []
