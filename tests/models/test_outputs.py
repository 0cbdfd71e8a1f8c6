"""A command writes anew what it wrote and nobody changed; whatever else is there stays, and is named."""

import os
import shutil
from itertools import count

import pytest

from dynsys import InvalidInputError
from dynsys.models.reporting import outputs as module
from dynsys.models.reporting.outputs import Outputs

FILES = {"figures/a.png": b"a", "figures/a.csv": b"1", "figures/b.png": b"b", "page.html": b"<p>"}


@pytest.fixture
def drawn(tmp_path):
    """A folder with these files, as drawings would fill it."""

    numbers = count()

    def make(files):
        folder = tmp_path / f"drawn {next(numbers)}"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        folder.mkdir(exist_ok=True)
        return folder

    return make


@pytest.fixture
def report(tmp_path):
    (tmp_path / "out").mkdir()
    return Outputs(tmp_path / "out" / "REPORT.md", "some-study")


def found(report):
    """All files beside a page, and the page without its list."""
    folder = report.page.parent
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_page_ends_in_how_it_was_made_and_lists_its_files(report, drawn):
    text = report.write(["# Head", "", "Text.", ""], "Made by hand.", drawn(FILES)).read_text()
    assert text.startswith("# Head\n\nText.\n\n<!-- Written by dynsys some-study")
    assert text.endswith("-->\n\nMade by hand.\n")
    assert all(name in text for name in FILES)
    assert {name: content for name, content in found(report).items() if name != "REPORT.md"} == FILES
    assert report.complete()


def test_written_again_it_is_new_and_what_is_no_longer_drawn_goes(report, drawn):
    report.write(["one"], "made", drawn(FILES))
    (report.page.parent / "figures" / "mine.png").write_bytes(b"mine")
    new = {"figures/a.png": b"A", "figures/c.png": b"c"}
    for _ in range(2):
        assert report.write(["two"], "made anew", drawn(new)).read_text().startswith("two\n")
        kept = {name: content for name, content in found(report).items() if name != "REPORT.md"}
        assert kept == new | {"figures/mine.png": b"mine"}


def change(path):
    path.write_bytes(path.read_bytes() + b"my note\n")


def protect(path):
    path.chmod(0o444)


def link(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def folder(path):
    path.unlink()
    path.mkdir()


CHANGES = [change, protect, link, folder]


@pytest.mark.parametrize("name", [*FILES, "REPORT.md"])
@pytest.mark.parametrize("how", CHANGES, ids=lambda how: how.__name__)
def test_what_was_changed_is_named_and_nothing_is_written(report, drawn, name, how):
    report.write(["one"], "made", drawn(FILES))
    path = report.page.parent / name
    how(path)
    before = found(report)
    with pytest.raises(InvalidInputError, match=f"{path.name} .* is not overwritten: move it away"):
        report.write(["two"], "made", drawn(dict.fromkeys(FILES, b"new")))
    assert found(report) == before
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()  # as the error says
    if name != "REPORT.md":
        report.write(["two"], "made", drawn(dict.fromkeys(FILES, b"new")))
        assert found(report)["figures/a.png"] == b"new"


def test_what_was_changed_and_is_no_longer_drawn_stays(report, drawn):
    report.write(["one"], "made", drawn(FILES))
    change(report.page.parent / "figures/b.png")
    report.write(["two"], "made", drawn({"figures/a.png": b"A"}))
    assert found(report)["figures/b.png"] == b"bmy note\n"


@pytest.mark.parametrize("name", [*FILES, "REPORT.md"])
def test_a_file_of_others_is_named(report, drawn, name):
    path = report.page.parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match=path.name):
        report.write(["one"], "made", drawn(FILES))
    assert found(report) == {name: b"mine"}
    if name == "REPORT.md":
        with pytest.raises(InvalidInputError, match="was not written by dynsys some-study, and is not overwritten"):
            report.check()


def test_a_page_of_an_earlier_version_is_kept_and_the_rest_is_added(report, drawn):
    report.page.write_text("# Head\n\nMade by `dynsys some-study --seed 1`, dynsys 0.1.0.\n")
    before = found(report)
    report.check()
    with pytest.raises(InvalidInputError, match="or is of an earlier version, and is not overwritten"):
        report.write(["one"], "made", drawn(FILES))
    assert found(report) == before
    assert not report.complete()
    assert report.add(["one"], "made", drawn(FILES)) == []
    assert found(report) == before | FILES


def test_the_page_of_another_command_is_named(report, drawn):
    report.write(["one"], "made", drawn(FILES))
    other = Outputs(report.page, "another")
    before = found(report)
    for call in (other.check, lambda: other.write(["two"], "made", drawn(FILES))):
        with pytest.raises(InvalidInputError, match="belongs to another study, of dynsys some-study"):
            call()
    assert found(report) == before


@pytest.mark.parametrize("way", ["write", "add"])
def test_a_file_in_the_place_of_a_folder_is_named(report, drawn, way):
    (report.page.parent / "figures").write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="figures is no folder, and is not overwritten: move it away"):
        getattr(report, way)(["one"], "made", drawn(FILES))
    assert found(report) == {"figures": b"mine"}


@pytest.mark.parametrize(
    "gone", [["page.html"], ["figures"], ["figures/a.csv"], ["REPORT.md"], ["figures", "page.html"]]
)
@pytest.mark.parametrize("way", ["write", "add"])
def test_what_was_removed_is_made_again(report, drawn, gone, way):
    write = getattr(report, way)
    write(["one"], "made", drawn(FILES))
    before = found(report)
    for name in gone:
        path = report.page.parent / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not report.complete()
    write(["one"], "made", drawn(FILES))
    assert found(report) == before
    assert report.complete()


def test_adding_leaves_what_is_there_and_tells_what_it_does_not_know(report, drawn):
    (report.page.parent / "page.html").write_bytes(b"mine")
    assert report.add(["one"], "made", drawn(FILES)) == [report.page.parent / "page.html"]
    assert found(report)["page.html"] == b"mine"
    change(report.page)
    change(report.page.parent / "figures/a.csv")
    (report.page.parent / "figures/b.png").unlink()
    before = found(report)
    assert report.add(["two"], "made", drawn(FILES)) == []
    assert found(report) == before | {"figures/b.png": b"b"}


@pytest.mark.parametrize("last", range(7))
def test_a_kill_between_two_files_leaves_what_the_next_call_knows(report, drawn, last, monkeypatch):
    report.write(["one"], "made", drawn(FILES))
    written, write = count(), module.write_whole

    def killed(path, content):
        if next(written) == last:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(module, "write_whole", killed)
    new = {name: content + b"2" for name, content in FILES.items()}
    if last < 6:
        with pytest.raises(KeyboardInterrupt):
            report.write(["two"], "made", drawn(new))
    monkeypatch.setattr(module, "write_whole", write)
    newest = {name: content + b"3" for name, content in FILES.items()}
    report.write(["three"], "made", drawn(newest))
    assert {name: content for name, content in found(report).items() if name != "REPORT.md"} == newest


def test_a_list_that_points_elsewhere_deletes_nothing(report, drawn, tmp_path):
    """A report may come from somebody else."""
    report.write(["one"], "made", drawn(FILES))
    (tmp_path / "precious").write_bytes(b"b")
    (tmp_path / "out" / "figures" / "b.png").unlink()
    for name in ("../precious", str(tmp_path / "precious")):
        text = report.page.read_text().replace("figures/b.png", name)
        (tmp_path / "out" / "REPORT.md").write_text(text)
        report.write(["two"], "made", drawn({"figures/a.png": b"a"}))
        assert (tmp_path / "precious").read_bytes() == b"b"
        report.page.unlink()
        shutil.rmtree(tmp_path / "out" / "figures")
        (tmp_path / "out" / "page.html").unlink(missing_ok=True)
        report.write(["one"], "made", drawn(FILES))


def test_a_link_to_nowhere_is_something(report, drawn):
    os.symlink("nowhere", report.page)
    with pytest.raises(InvalidInputError, match="is a link, and is not overwritten"):
        report.check()
    assert not (report.page.parent / "nowhere").exists()
