"""What is said goes to standard error, unless silenced; what is tracked comes through whole."""

import io
import sys
import threading

import pytest

from tlkit import progress


def test_what_is_said_is_one_line_on_standard_error(capsys):
    progress.say("half way")
    assert capsys.readouterr() == ("", "half way\n")


def test_hushed_is_silent_inside_and_only_there(capsys):
    with progress.silenced():
        progress.say("inside")
        with progress.silenced():
            progress.say("further inside")
        progress.say("still inside")
    progress.say("after")
    assert capsys.readouterr().err == "after\n"


def test_a_hush_ends_with_an_error(capsys):
    with pytest.raises(ZeroDivisionError), progress.silenced():
        raise ZeroDivisionError
    progress.say("after")
    assert capsys.readouterr().err == "after\n"


def test_a_hush_is_for_its_own_thread(capsys):
    with progress.silenced():
        thread = threading.Thread(target=progress.say, args=("another",))
        thread.start()
        thread.join()
    assert capsys.readouterr().err == "another\n"


def test_nothing_is_shown_where_no_one_looks(capsys):
    assert list(progress.track(iter("abc"), "Letters", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("items", "total"), [([7, 8, 9], None), (iter([7, 8, 9]), 3)])
def test_a_bar_counts_units_and_lets_every_item_through(monkeypatch, items, total):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert list(progress.track(items, "Images", total, unit=32)) == [7, 8, 9]
    shown = sys.stderr.getvalue()
    assert "Images" in shown and "0/96" in shown and "96/96" in shown


def test_items_are_taken_one_at_a_time():
    taken = []
    tracked = progress.track((taken.append(i) or i for i in range(5)), "Lazy", total=5)
    assert next(tracked) == 0 and taken == [0]
