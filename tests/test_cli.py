"""The command `dynsys`: what it writes, what its help shows, and how it ends when something is wrong."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

from dynsys import open_store
from dynsys.models import cli
from dynsys.models.activations import BY_NAME
from dynsys.models.networks.three_layer import jacobian
from dynsys.models.reporting import terminal
from dynsys.models.reporting.outputs import Outputs
from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.models.weight_dynamics.study import Study

COMMANDS = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
QUICK = ["weight-dynamics", "--members", "2", "--steps", "40", "--learning-rate", "1e-3", "--samples", "100"]


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `dynsys` with arguments; returns its exit status and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dynsys", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as leave:
            status = leave.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return status, " ".join((out + err).split())

    return run


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_main_job_writes_data_summary_and_figures(command, tmp_path):
    output = tmp_path / "made" / "here"
    status, text = command(*QUICK, "--output", output)
    assert status == 0
    assert "4 of 4 runs finished" in text
    assert sorted(p.name for p in output.iterdir()) == ["figures", "runs.html", "runs.zarr", "summary.md"]
    assert len(list((output / "figures").glob("*.png"))) == len(list((output / "figures").glob("*.csv"))) == 4
    data = open_store(output / "runs.zarr")
    assert dict(data.exponent.sizes) == {"activation": 2, "member": 2, "time": 2, "q": 9}
    assert dict(data.angle.sizes) == {"activation": 2, "member": 2, "time": 2, "pair": 36}
    assert data.attrs["learning_rate"] == 1e-3
    assert "Made by `dynsys weight-dynamics" in (output / "summary.md").read_text()
    assert "learning rate 0.001 (the paper's: 3e-05)".lower() in (output / "summary.md").read_text().lower()

    before = files_of(output)
    shutil.rmtree(output / "figures")
    (output / "runs.html").unlink()
    (output / "notes.md").write_text("mine")
    assert command(*QUICK, "--output", output)[0] == 0
    assert files_of(output).keys() == before.keys() | {Path("notes.md")}
    assert {name: text for name, text in before.items() if files_of(output)[name] != text}.keys() <= {Path("runs.html")}
    (output / "summary.md").write_text("my own summary")
    before = files_of(output)
    status, text = command(*QUICK, "--output", output)
    assert (status, "summary.md was not written by dynsys weight-dynamics, and is not overwritten" in text) == (2, True)
    assert files_of(output) == before


@pytest.mark.slow
def test_outputs_that_were_removed_are_made_again_and_others_are_left_alone(command, tmp_path):
    output = tmp_path / "out"
    arguments = [*QUICK, "--output", output]
    assert command(*arguments)[0] == 0
    first = files_of(output)
    for gone in (["figures", "runs.html"], ["figures/exponents.png"], ["figures/single_runs.csv"], ["summary.md"]):
        for name in gone:
            shutil.rmtree(output / name) if name == "figures" else (output / name).unlink()
        (output / "my notes.md").write_text("mine")
        (output / "figures").mkdir(exist_ok=True)
        (output / "figures" / "mine.png").write_text("mine")
        status, text = command(*arguments)
        assert (status, "4 of 4 runs finished" in text) == (0, True)
        assert files_of(output).keys() == first.keys() | {Path("my notes.md"), Path("figures/mine.png")}
    (output / "summary.md").write_text("my words\n" + (output / "summary.md").read_text())
    (output / "runs.html").write_text("my page")
    before = files_of(output)
    assert command(*arguments)[0] == 0
    assert files_of(output) == before
    (output / "summary.md").write_text("my own summary")
    before = files_of(output)
    status, text = command(*arguments)
    assert (status, "summary.md was not written by dynsys weight-dynamics, and is not overwritten" in text) == (2, True)
    assert files_of(output) == before


def test_names_of_a_table_are_text_in_the_terminal(command, tmp_path):
    (tmp_path / "own [bold].csv").write_text("<b>;a|b [red]x[/red];y\n1;2;3\n2;1;4\n")
    status, text = command(*QUICK, "--data", tmp_path / "own [bold].csv", "--target", "nothing")
    assert status == 2
    assert "own [bold].csv has no column 'nothing'; its columns are <b>, a|b [red]x[/red], y (separated by semi" in text


def test_two_studies_do_not_share_a_folder(command, tmp_path):
    (tmp_path / "runs" / "he.zarr").mkdir(parents=True)
    status, text = command("training-chaos", "--output", tmp_path)
    assert (status, "holds no study to be continued" in text) == (2, True)
    (tmp_path / "runs" / "small-rate.zarr").mkdir()
    Outputs(tmp_path / "REPORT.md", "weight-dynamics").add(["# Report"], "made", tmp_path / "runs" / "he.zarr")
    before = files_of(tmp_path)
    status, text = command("training-chaos", "--output", tmp_path)
    assert (status, "REPORT.md belongs to another study, of dynsys weight-dynamics" in text) == (2, True)
    (tmp_path / "CATALOGUE.md").write_text("my catalogue")
    status, text = command("classics", "Lorenz63", "--length", "quick", "--report", tmp_path)
    assert (status, "CATALOGUE.md was not written by dynsys classics" in text) == (2, True)
    assert files_of(tmp_path) == before | {Path("CATALOGUE.md"): b"my catalogue"}


@pytest.mark.slow
def test_main_job_takes_a_table_of_ones_own(command, tmp_path):
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.normal(5, 2, 50), rng.normal(size=50), rng.normal(size=50)])
    np.savetxt(tmp_path / "own.csv", table, delimiter=",", header="a,target,b", comments="")
    arguments = [*QUICK, "--data", tmp_path / "own.csv", "--target", "target", "--output", tmp_path / "out"]
    status, _ = command(*arguments, "--activation", "tanh", "--no-angles")
    assert status == 0
    assert "angle" not in open_store(tmp_path / "out" / "runs.zarr")
    assert "target from a, b of own.csv" in (tmp_path / "out" / "summary.md").read_text()
    assert open_store(tmp_path / "out" / "runs.zarr").sizes["q"] == 2 * 2 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--members", "0"], "members must be a whole number >= 1, got 0"),
        (["--steps", "-5"], "steps must be a whole number >= 1, got -5"),
        (["--learning-rate", "nan"], "learning_rate must be a positive finite number, got nan"),
        (["--activation", "softmax"], "softmax"),
        (["--batch", "101"], "there are 100: choose a smaller --batch, or 0 for all of them"),
        (["--data", "nowhere.csv", "--target", "y"], "nowhere.csv cannot be read as a CSV file: No such file"),
        (["--target", "y"], "go together"),
        (
            ["--angles", "--hidden", "40", "--steps", "200000"],
            "--angles holds all triangular factors of the 161 vectors",
        ),
        (["--hidden", "0"], "hidden must be a whole number >= 1, got 0"),
    ],
)
def test_wrong_usage_is_named_and_has_exit_status_2(command, tmp_path, arguments, message):
    status, text = command(*QUICK, "--output", tmp_path / "out", *arguments)
    assert status == 2
    assert message in text
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(command, tmp_path):
    (tmp_path / "precious").write_text("mine")
    status, text = command(*QUICK, "--output", tmp_path)
    assert status == 2
    assert "not empty" in text
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("where", ["/proc/nothing/here", "/dev/null/x"])
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(command, where):
    status, text = command(*QUICK, "--output", where)
    assert status == 2
    assert where in text


def test_if_all_runs_diverge_the_data_are_kept_and_the_status_is_1(command, tmp_path):
    status, text = command(*QUICK, "--learning-rate", "100", "--output", tmp_path / "out")
    assert status == 1
    assert "smaller --learning-rate than 100" in text
    assert (open_store(tmp_path / "out" / "runs.zarr").status > 0).all()
    assert "| relu | 0 | 2 | 0 |" in (tmp_path / "out" / "summary.md").read_text()


def test_jacobian_check_passes_for_all_activations(command):
    status, text = command("check-jacobian", "--sizes", "1,3,2")
    assert status == 0
    assert text.count("(23)") == len(BY_NAME)
    assert "All agree within 1e-11" in text


@pytest.mark.parametrize("equation", range(8, 24))
def test_jacobian_check_finds_a_wrong_sign_in_any_block(command, monkeypatch, equation):
    right = jacobian.jacobian

    def wrong(layout, *arguments):
        J = right(layout, *arguments)
        J[jacobian.block_slices(layout)[equation]] *= -1.0
        return J

    monkeypatch.setattr(jacobian, "jacobian", wrong)
    status, text = command("check-jacobian", "--activation", "tanh")
    assert status == 1
    assert f"blocks ({equation}) with tanh" in text


def test_a_negative_seed_is_named(command):
    status, text = command("check-jacobian", "--seed", "-1")
    assert status == 2
    assert "--seed must be a whole number >= 0, got -1" in text


@pytest.mark.parametrize("sizes", ["2,2", "2,0,1", "a,b,c"])
def test_wrong_sizes_are_named(command, sizes):
    status, text = command("check-jacobian", "--sizes", sizes)
    assert status == 2
    assert sizes in text


def test_version(command):
    status, text = command("--version")
    assert (status, text) == (0, "dynsys 0.1.0")


def test_the_first_help_shows_commands_that_exist_and_where_to_read_on(command):
    status, text = command("--help")
    shown = {call.split()[0] for call in re.findall(r"• dynsys ([^:]*):", text)}
    assert status == 0
    assert len(shown) == 3
    assert shown < COMMANDS
    assert "README.md" in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself_with_an_example(command, name):
    status, text = command(name, "--help")
    assert status == 0
    assert f"Example: dynsys {name} " in text


def test_defaults_in_brackets_are_shown(command):
    text = command("training-chaos", "--help")[1].replace("│", "").split()
    assert "Threads [default: all cores]." in " ".join(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--versoin"], "No such option: --versoin"),
        (["lorenz"], "No such command 'lorenz'"),
        (["inspect"], "Missing argument 'store'"),
        (["inspect", "nowhere.zarr"], "'nowhere.zarr' does not exist"),
        (["export", "nowhere.zarr", "runs.nc"], "'nowhere.zarr' does not exist"),
        (["classics", "Lorenz63", "--length", "short"], "'short' is not one of 'quick', 'usual', 'long'"),
        (["classics", "Lorenz63", "--seed", "-1"], "--seed must be a whole number >= 0, got -1"),
        (["training-chaos", "--workers", "0"], "--workers must be a whole number >= 1, got 0"),
        (["layer-dynamics", "--output", "/dev/null"], "/dev/null is a file: choose another name"),
    ],
)
def test_wrong_calls_are_explained(command, arguments, message):
    status, text = command(*arguments)
    assert status == 2
    assert message.lower() in " ".join(text.replace("│", "").split()).lower()  # some Typer says STORE


INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
from dynsys.models import cli
from dynsys.models.reporting import terminal
from dynsys.models.weight_dynamics.runs import TrainingRuns

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background inherits one that is ignored
terminal.BLOCK, calls, interrupts = 1, [], int(sys.argv.pop())
train, first_block = TrainingRuns._train, Path(sys.argv[-1], "runs.zarr", "status", "c", "0", "0")

def interrupting(self, *arguments):  # Ctrl-C while the second block of one member is computed
    calls.append(None)
    if len(calls) == 3:
        while not first_block.exists():
            time.sleep(0.05)
        for _ in range(interrupts):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
    return train(self, *arguments)

TrainingRuns._train = interrupting
cli.main()
"""


@pytest.mark.parametrize("interrupts", [1, 2])
@pytest.mark.slow
def test_ctrl_c_saves_the_blocks_and_the_same_command_goes_on(command, tmp_path, monkeypatch, interrupts):
    monkeypatch.setattr(terminal, "BLOCK", 1)
    arguments = [*QUICK, "--members", "4", "--workers", "1", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments, str(interrupts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    text = " ".join(done.stdout.split())
    assert done.returncode == 130, text
    assert "Traceback" not in text
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["runs.zarr"]
    saved = 2 if interrupts == 1 else 1
    assert interrupts == 2 or f"stopped with {saved} of 4 members" in text
    begun = open_store(tmp_path / "out" / "runs.zarr").load()
    assert begun.status.values.tolist() == [[0] * saved + [-1] * (4 - saved)] * 2
    assert np.isfinite(begun.exponent[:, :saved]).all()
    assert np.isnan(begun.exponent[:, saved:]).all()

    status, text = command(*arguments, "--steps", "60")
    assert status == 1
    assert "compute.study.steps: 40 there, 60 here" in text
    status, text = command(*arguments)
    assert (status, "8 of 8 runs finished" in text) == (0, True)
    study = Study(members=4, steps=40, learning_rate=1e-3, angles=True)
    undisturbed = TrainingRuns(study, *regression_task(100, study.seeds["data"])).ensemble().run()
    xarray.testing.assert_equal(open_store(tmp_path / "out" / "runs.zarr").load(), undisturbed)
    status, text = command(*arguments)  # a finished study is left alone
    assert (status, "8 of 8 runs finished" in text) == (0, True)


def test_a_store_can_be_inspected_and_exported(command, tmp_path):
    command(*QUICK, "--output", tmp_path / "out")
    store = tmp_path / "out" / "runs.zarr"
    status, text = command("inspect", store)
    assert status == 0
    assert "2 of 2 members, 1 of 1 blocks of 2 4 finished" in text
    assert "learning_rate: 0.001" in text
    status, _ = command("export", store, tmp_path / "runs.nc")
    assert status == 0
    with xarray.open_dataset(tmp_path / "runs.nc", engine="scipy") as data:
        xarray.testing.assert_equal(data, open_store(store))
    assert command("export", store, tmp_path / "runs.nc")[0] == 2
    assert command("export", store, tmp_path / "tables")[0] == 0
    table = np.genfromtxt(tmp_path / "tables" / "activation_member_time.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(np.sort(table["loss"]), np.sort(open_store(store).loss.values.ravel()))
    status, text = command("inspect", tmp_path)
    assert (status, "is no store of an ensemble" in text) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "wide"], "--weights has no meaning"),
        (["--members", "8", "--batch", "0", "--learning-rate", "1e-3"], "--batch, --learning-rate has no meaning"),
        (["--steps", "100"], "time must be at least"),
        (["--members", "0"], "members"),
    ],
)
def test_the_study_of_the_paper_refuses_what_it_does_not_vary(command, tmp_path, arguments, message):
    status, text = command("weight-dynamics", "--study", "paper", *arguments, "--output", tmp_path / "paper")
    assert status == 2
    assert message in text
    assert not (tmp_path / "paper").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.long
def test_the_study_of_the_paper_runs_and_is_gone_on_with(command, tmp_path):
    arguments = ["weight-dynamics", "--study", "paper", "--members", "48", "--steps", "60300", "--output", tmp_path]
    status, _ = command(*arguments)
    assert status == 0
    report = (tmp_path / "REPORT.md").read_text()
    assert report.startswith("# 'On the weight dynamics of learning networks', claim by claim")
    assert "**48 runs of each of the four cells**" in report
    assert all(f"\n| {number} |" in report for number in range(1, 61))
    for target in (tmp_path / "report").iterdir():
        assert target.stat().st_size > 50
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/status/c/*/*")}
    status, _ = command(*arguments)  # nothing is computed again, the report is written anew
    assert status == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (tmp_path / "REPORT.md").read_text() == report
