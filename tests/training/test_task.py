"""Parts of a batch, and what is opened for them."""

import pytest

from g3pt.training.task import DatasetsOfParts, Part


def test_the_dataset_of_a_part_is_opened_once_and_when_it_is_asked_for():
    opened: list[Part] = []

    def open_part(part: Part) -> str:
        opened.append(part)
        return f"{part.index} of {part.count}"

    datasets = DatasetsOfParts(open_part, batch_size=4)
    assert not opened
    first, second = Part(0, 2), Part(1, 2)
    assert [datasets[part] for part in (first, second, first)] == ["0 of 2", "1 of 2", "0 of 2"]
    assert opened == [first, second]
    assert datasets[Part()] == "0 of 1"


def test_nothing_is_opened_for_a_batch_that_does_not_divide():
    opened: list[Part] = []
    datasets = DatasetsOfParts(opened.append, batch_size=4)
    with pytest.raises(ValueError, match="batch of 4 does not divide into 3 equal parts"):
        datasets[Part(0, 3)]
    assert not opened
