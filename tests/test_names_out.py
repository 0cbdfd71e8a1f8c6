"""Names from tables and users on their way out: each output shows what was given, and obeys none of it."""

import csv
import io
import re
import shlex
import sys
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.cbook import is_math_text

from dynsys import Ensemble, InvalidInputError, SymbolicMap, open_store
from dynsys.models.reporting import terminal as commands
from dynsys.plotting import exponents_figure, grid, save_figure
from dynsys.storage.escaping import (
    FILLERS,
    csv_cell,
    file_name,
    html,
    label,
    markdown,
    markdown_code,
    plain_name,
    terminal,
)
from dynsys.storage.inspection import export, report

HOSTILE = [
    "<script>alert(1)</script>", "a|b", "`code`", "``", "**bold**", "_x_", "__y__", "x_1", "~~no~~", "[a](http://b)",
    "![a](b)", "<b>", "&lt;", "&", "a\\", "\\", "\\|", "# head", "- item", "1. one", "1) one", "+ plus", "=1+1", "-x",
    "@SUM(A1)", "$x_$", "$", "$\\frac{$", "\\$", "$$x$$", "[bold]red[/bold]", "'quoted'", '"quoted"', "-->", "größe",
    "x²", "日本", "---", "===", "<!-- x", "http://a.b", "> quote", "a  b", "*", "\uff1d1+1",
]  # fmt: skip
names = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"]), min_size=1, max_size=12)
marks = st.text(st.sampled_from("ab1 \\`*_{}[]()<>#+-.!|&~$=:\"'/;"), min_size=1, max_size=12)


class Text(HTMLParser):
    """The text of a page and its tags."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def rendered(text):
    return Text(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def assert_markdown_shows(name):
    shown = " ".join(name.split())
    paragraph = rendered(markdown(name))
    assert (paragraph.text.strip(), paragraph.tags) == (shown, ["p"])
    assert "<" not in markdown(name)
    table = rendered(f"| a | b |\n| --- | --- |\n| {markdown(name)} | end |\n")
    assert [line for line in table.text.split("\n") if line.strip()] == ["a", "b", *([shown]), "end"]
    assert not {*table.tags} - {"table", "thead", "tbody", "tr", "th", "td"}
    code = rendered(f"Made by {markdown_code(name)}.")
    assert code.tags == ["p", "code"] or not name.strip()
    assert " ".join(code.text.split()) == " ".join(f"Made by {name}.".split()) or name != name.strip()


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_hostile_names_as_they_are(name):
    assert_markdown_shows(name)


def test_one_tilde_is_no_strike_on_pages_that_take_it_for_one():
    assert markdown("~a~ ~~b~~") == r"\~a\~ \~\~b\~\~"  # as those of GitHub do, unlike the renderer of these tests


@given((names | marks).filter(str.strip))
def test_markdown_shows_any_name_as_it_is(name):
    assert_markdown_shows(name)


@given(names | marks)
def test_html_shows_any_name_as_it_is(name):
    page = Text(f'<p title="{html(name)}">{html(name)}</p>')
    assert (page.text, page.tags) == (terminal(name), ["p"])
    assert not {*html(name)} & {*"<>\"'"}


@given(names | marks)
@example("$\\frac{$")
def test_a_dollar_in_a_figure_is_a_dollar(name):
    assert not is_math_text(label(name))
    assert label(name).replace(r"\$", "$") == name


@given(st.text() | st.floats().map(repr) | st.sampled_from(HOSTILE))
def test_no_cell_of_text_is_a_formula_and_numbers_stay(value):
    cell = csv_cell(value)
    assert cell in (value, f"'{value}")
    if cell.lstrip(" ")[:1] in {*"=+-@\t\r\n"} - {""}:
        assert cell.strip()
        float(cell)
    assert csv_cell(-1.5) == -1.5
    assert csv_cell(np.float64(-1.5)) == -1.5
    assert csv_cell("a = b") == "a = b"


@given(st.text())
def test_the_terminal_obeys_nothing(text):
    for character in terminal(text):  # blanks of other widths are blanks
        assert character == "\n" or character.isprintable() or unicodedata.category(character) == "Zs"
    assert terminal("größe\n日本") == "größe\n日本"


@given(st.text())
def test_a_file_name_stays_in_its_folder(text):
    name = file_name(text)
    assert not {*name} & {*'/\\:*?"<>|\0'}
    assert name not in ("", ".", "..")
    assert not name.startswith(".")


@given(names | marks)
def test_names_that_can_be_seen_are_names(name):
    if not {*name} & FILLERS:
        assert plain_name("column", name) == name


@given(st.text(max_size=5), st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), st.text(max_size=5))
def test_others_are_refused_with_their_code(before, character, after):
    with pytest.raises(InvalidInputError, match=r"with U\+[0-9A-F]{4,6} [A-Z].*: rename it") as error:
        plain_name("column", before + character + after)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["x\u034f", "x\ufe0f", "x\u115f", "x\u17b4"])
def test_names_in_equations_can_be_seen(name):
    """These are identifiers to Python, and look like x."""
    with pytest.raises(InvalidInputError, match=r"must be without invisible characters, got .* with U\+"):
        SymbolicMap.of({"x": "y", name: "x"})
    assert SymbolicMap.of({"x": "θ", "θ": "x"}).dimension == 2


@pytest.mark.parametrize("argument", ["a`b", "``", "a\x1b[31m", "a\nb", "\udc80", "<script>", "größe"])
def test_how_a_report_was_made_can_be_written_and_is_code(argument, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dynsys", "classics", argument])
    made = commands.made()
    made.encode()
    assert all(character.isprintable() for character in made)
    shown = rendered(made)
    assert shown.tags == ["p", "code"]
    assert terminal(shlex.quote(argument)).replace("\n", " ") in shown.text


# ---- where they go


def test_tables_and_figures_hold_names_without_formulas(tmp_path):
    figure, axes = grid(1, 1, title=label("$\\frac{$ and $x_$"), size=(2, 2))
    axes[0, 0].set(xlabel=label("price $"))
    path = save_figure(figure, tmp_path / "a", {"=cmd()": ["+1", "-x", "b"], "x": [-1.5, 2.0, 3.0]})
    rows = list(csv.reader(io.StringIO(path.with_suffix(".csv").read_text(), newline="")))
    assert rows == [["'=cmd()", "x"], ["+1", "-1.5"], ["'-x", "2.0"], ["b", "3.0"]]


@pytest.mark.parametrize("name", ["$\\frac{$", "$x_$", "a$", "$\\rho$", "plain"])
def test_labels_of_axes_are_mathematics_where_they_can_be(tmp_path, name):
    data = {"exponent_mean": (("a", "exponent"), [[1.0], [2.0]]), "standard_error": (("a", "exponent"), [[0.1], [0.1]])}
    runs = xarray.Dataset(data | {"status": ("a", [0, 0])}, {"a": [1.0, 2.0], "exponent": [1]})
    runs["a"].attrs["long_name"] = name
    figure, columns = exponents_figure(runs)
    save_figure(figure, tmp_path / "a", columns)
    assert (figure.axes[0].get_xlabel() == f"{name} (model units)") == (name in ("$\\rho$", "plain", "a$"))


def hostile(members):
    """Labels, and names of dimensions, that somebody chose."""
    shape = (len(members), 2)
    data = {"status": ("member", np.zeros(len(members), np.int8)), "x": (("member", "../up/=d"), np.ones(shape))}
    data |= {"y": (("member", "a/b", "c"), np.ones((*shape, 1))), "z": (("member", "a", "b/c"), np.ones((*shape, 1)))}
    return xarray.Dataset(data, {"kind": ("../up/=d", ["=1+1", "-2"]), "c": ["@x"]})


def test_export_stays_in_its_folder_and_holds_no_formulas(tmp_path):
    store = tmp_path / "in" / "a.zarr"
    Ensemble(hostile, 4).run(store, block=2)
    files = export(store, tmp_path / "in" / "tables")
    assert {file.parent for file in files} == {tmp_path / "in" / "tables"}
    assert len({*files}) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    for file in files:
        rows = list(csv.reader(io.StringIO(file.read_text(), newline="")))
        assert len(rows) in (1 + 4, 1 + 8)
        for cell in (cell for row in rows for cell in row):
            assert not re.match("[=@+]|-[^0-9.]", cell), cell
    assert "'=1+1" in "".join(file.read_text() for file in files)
    assert open_store(store).kind.values.tolist() == ["=1+1", "-2"]  # the store has what was given


def test_a_dimension_with_an_invisible_name_is_refused(tmp_path):
    def compute(members):
        return xarray.Dataset(
            {"status": ("member", members * 0), "x": (("member", "a\x1b[1m"), np.ones((len(members), 1)))}
        )

    with pytest.raises(InvalidInputError, match=r"the name of a dimension .* U\+001B ESCAPE"):
        Ensemble(compute, 2).run(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", [*HOSTILE, ":b:", ":smile:", "a:b:c", "[link=http://a.b]x[/link]"])
def test_the_terminal_shows_names_as_they_are(name, capsys):
    commands.say(name)
    assert capsys.readouterr().err == f"{name}\n"


def test_what_a_member_says_does_not_reach_the_terminal(tmp_path, monkeypatch):
    def compute(members):
        if 1 in members:
            raise ValueError("red \x1b[31m \u202e [bold]x[/bold]")
        return xarray.Dataset({"status": ("member", members * 0), "x": ("member", members * 1.0)})

    stream = io.StringIO()
    monkeypatch.setattr(commands, "console", type(commands.console)(file=stream, highlight=False, width=200))
    commands.compute(Ensemble(compute, 3), tmp_path / "a.zarr", 1, block=1)
    assert "red \\x1b[31m \\u202e [bold]x[/bold]" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()
    assert "\u202e" not in report(tmp_path / "a.zarr")
