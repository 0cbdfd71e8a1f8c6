"""The commands of the papers: they write a report, and refuse what they cannot do before anything runs."""

import sys

import pytest

from dynsys.models import cli

COMMANDS = {
    "training-chaos": ["--share", "0.01"],
    "training-response": ["--networks", "3"],
    "layer-dynamics": ["--networks", "2"],
}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dynsys", *map(str, arguments)])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    return leave.value.code or 0


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.long
def test_the_command_writes_its_report(monkeypatch, tmp_path, command):
    folder = tmp_path / "out"
    assert run(monkeypatch, command, *COMMANDS[command], "--output", folder) == 0
    text = (folder / "REPORT.md").read_text()
    assert f"Made by `dynsys {command}" in text
    for figure in (folder / "report").glob("*.png"):
        assert f"report/{figure.name}" in text
        assert figure.with_suffix(".csv").stat().st_size > 100


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_holds_something_else_is_refused(monkeypatch, tmp_path, capsys, command):
    (tmp_path / "mine.txt").write_text("not to be lost")
    assert run(monkeypatch, command, "--output", tmp_path) == cli.USAGE
    assert "is not empty" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "runs").mkdir()  # of something else
    (tmp_path / "runs" / "mine").mkdir()
    assert run(monkeypatch, command, "--output", tmp_path) == cli.USAGE
    (tmp_path / "runs" / "mine").rmdir()
    assert run(monkeypatch, command, "--output", tmp_path) == cli.USAGE
    assert (tmp_path / "mine.txt").read_text() == "not to be lost"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["training-chaos", "--share", "0"], "--share must be positive"),
        (["training-chaos", "--seed", "-1"], "--seed must be a whole number >= 0"),
        (["training-response", "--networks", "1"], "networks must be a whole number >= 3"),
        (["layer-dynamics", "--networks", "1"], "networks must be a whole number >= 2"),
    ],
)
def test_wrong_options_are_refused(monkeypatch, tmp_path, capsys, arguments, text):
    assert run(monkeypatch, *arguments, "--output", tmp_path / "new") == cli.USAGE
    assert text in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()
