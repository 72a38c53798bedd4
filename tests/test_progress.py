"""Progress: a bar on a terminal, one line per minute in a log."""

import io
import sys

import pytest

from fma_genre.common import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, interval: float, position: int = 0) -> str:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "INTERVAL", interval)
    assert list(progress.bar(range(3), position, desc="seed0", total=5, initial=2, unit="epoch")) == [0, 1, 2]
    return stream.getvalue()


def test_on_a_terminal_one_line_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(Terminal(), monkeypatch, 60)
    assert text.startswith("\rseed0:  40%")
    assert "2/5" in text


@pytest.mark.parametrize("position", [0, 3])
def test_in_a_log_each_state_has_its_line(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    lines = shown(io.StringIO(), monkeypatch, 1e-9, position).splitlines()
    assert [line.partition(" after ")[0] for line in lines] == [f"seed0: {done}/5 epoch" for done in (3, 4, 5)]
    assert all(line.isprintable() for line in lines)


def test_less_than_a_minute_of_work_leaves_the_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(io.StringIO(), monkeypatch, 60) == ""
