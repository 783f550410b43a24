from __future__ import annotations

import logging
import sys
import warnings
from functools import partial

import pytest

from medseg.identifiers import concealed, hidden_words, hide
from medseg.pipelines import cli
from medseg.pipelines.cases import Outcome
from medseg.pipelines.concealed_output import ConcealedStream, conceal_here, concealed_output
from medseg.pipelines.workers import run_processes, stop_processes

log = logging.getLogger("medseg.tests.nobody_listens")


def loud(case: str) -> Outcome:
    """Say a name in every way there is, as a case function or a library below it may."""
    log.warning("logged: Quux/1.dcm")
    warnings.warn("warned: QUUX", stacklevel=1)
    sys.stderr.write("written: quux_1\n")
    sys.stdout.write("told: Quux\n")
    return Outcome(case)


@pytest.fixture
def streams(monkeypatch):
    """Put the streams back that a test conceals for good."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)


def test_what_is_written_is_concealed_and_the_words_forgotten_with_the_command(capsys):
    hide(["earlier"], "x")
    before = sys.stderr
    with concealed_output():
        hide(["Quux"], "[patient]")
        assert concealed("earlier") == "earlier", "a command begins with nothing to hide"
        sys.stdout.write("told: Quux\n")
        logging.lastResort.emit(
            log.makeRecord("x", logging.WARNING, "", 0, "Q: %s", ("QUUX",), None)
        )
        sys.stderr.writelines(["one Quux\n", "two\n"])
        assert sys.stderr.isatty() is False, "all else is the stream's own"
    assert sys.stderr is before
    assert hidden_words() == {"earlier": "x"}
    said = capsys.readouterr()
    assert said.err == "Q: [patient]\none [patient]\ntwo\n"
    assert said.out == "told: [patient]\n"


@pytest.mark.usefixtures("streams")
def test_streams_are_wrapped_once():
    conceal_here({"Quux": "x"})
    first = sys.stderr
    conceal_here({"Roe": "y"})
    assert sys.stderr is first
    assert isinstance(first, ConcealedStream)
    assert concealed("Quux Roe") == "Quux y"


def test_a_worker_process_shows_no_more_than_the_log(capfd):
    hide(["Quux"], "[patient]")
    stop_processes()  # else one of an earlier test writes where that test was heard
    try:
        done = list(run_processes({name: partial(loud, name) for name in ("a", "b")}, 2))
    finally:
        stop_processes()
    assert sorted(one.case for one in done) == ["a", "b"]
    said = capfd.readouterr()
    assert "quux" not in (said.out + said.err).lower()
    for told in ("logged: [patient]/1.dcm", "warned: [patient]", "written: [patient]_1"):
        assert told in said.err


def test_an_error_and_its_traceback_are_concealed(monkeypatch, capsys):
    def main(_):
        hide(["Quux"], "[patient]")
        raise ValueError("of Quux")

    monkeypatch.setattr("medseg.pipelines.catalogue.main", main)
    assert cli.main(["list", "--debug", "losses"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ValueError: of [patient]" in said
    assert "Quux" not in said.replace('hide(["Quux"]', "").replace('ValueError("of Quux', "")
