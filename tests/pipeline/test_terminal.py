"""What people read: lines as they are, lengths of time, sizes."""

from __future__ import annotations

import io

import pytest

from pipeline.terminal import duration, file_size, terminal


def test_a_line_is_neither_markup_nor_folded() -> None:
    line = "[red]shards/{000000..000009}.tar[/red] " + "x" * 300
    file = io.StringIO()
    terminal(file=file).print(line)
    assert file.getvalue() == f"{line}\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 seconds"),
        (59.4, "59 seconds"),
        (150, "2 minutes and 30 seconds"),
        (1270, "21 minutes"),
        (7500, "2 hours and 5 minutes"),
    ],
)
def test_durations_have_the_units_of_their_size(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_sizes_are_in_powers_of_ten() -> None:
    assert [file_size(count) for count in (12, 12_345, 1.2e9)] == ["12 Bytes", "12.3 kB", "1.2 GB"]
