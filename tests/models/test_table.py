"""Tables of one's own as spreadsheets and programs write them: read right, or refused with the cause and the remedy."""

import gzip
import io
import unicodedata
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import InvalidInputError
from dynsys.models.weight_dynamics import read_table

NUMBERS = [[1.5, -2.0], [3.25, 40.0], [0.0, 7.5]]


READ = {
    "semicolons": "a;y\n1.5;-2\n3.25;40\n0;7.5\n",
    "tabs": "a\ty\n1.5\t-2\n3.25\t40\n0\t7.5\n",
    "bars": "a|y\n1.5|-2\n3.25|40\n0|7.5\n",
    "blanks": "a y\n1.5 -2\n3.25 40\n0 7.5\n",
    "blanks in columns": "   a      y\n 1.5     -2 \n3.25     40  \n   0    7.5\n",
    "tabs and blanks": "a\t y\n1.5\t -2\n3.25\t 40\n0\t 7.5\n",
    "commas and blanks": "a, y\n1.5, -2\n3.25, 40\n0, 7.5\n",
    "decimal commas": "a;y\n1,5;-2\n3,25;40,0\n0,0;7,5\n",
    "decimal commas, tabs": "a\ty\n1,5\t-2\n3,25\t40,0\n0,0\t7,5\n",
    "decimal commas, blanks": "a y\n1,5 -2\n3,25 40\n0 7,5\n",
    "decimal commas in quotes": 'a;y\n"1,5";"-2"\n"3,25";"40"\n"0";"7,5"\n',
    "decimal comma with an exponent": "a;y\n1,5e0;-2\n3,25;4,00E+1\n0;7,5\n",
    "a name with a comma": "a;y\n1.5;-2\n3.25;40\n0;7.5\n",
    "separators at the ends": "a,y,\n1.5,-2,\n3.25,40,\n0,7.5,\n",
    "semicolons at the ends": "a;y;\n1.5;-2;\n3.25;40\n0;7.5;\n",
    "many separators at the ends": "a,y,,,\n1.5,-2,,,\n3.25,40,,\n0,7.5\n",
    "rows of separators alone": ";;\na;y;\n1.5;-2;\n;;\n3.25;40;\n0;7.5;\n;;\n;;\n",
    "quotes after blanks": 'a, "y"\n1.5, "-2"\n3.25, "40"\n0, "7.5"\n',
    "sep=": "sep=;\na;y\n1.5;-2\n3.25;40\n0;7.5\n",
    "windows": "\ufeffa;y\r\n1,5;-2\r\n3,25;40\r\n0;7,5\r\n",
    "old Macintosh": "a,y\r1.5,-2\r3.25,40\r0,7.5\r",
    "empty lines": "\n  \na,y\n\n1.5,-2\n   \n3.25,40\n0,7.5\n\n",
    "quotes": '"a","y"\n"1.5","-2"\n"3.25","40"\n"0","7.5"\n',
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_what_is_unambiguous_is_read(table, content):
    X, y, names = read_table(table(content), "y")
    assert names == ["a"]
    a, right = np.array(NUMBERS).T
    np.testing.assert_array_equal(y, right)
    np.testing.assert_allclose(X[:, 0], (a - a.mean()) / a.std(), rtol=1e-13)


def test_names_may_hold_the_other_separators(table):
    content = "height, m;mass | kg;y 1\n1;2;3\n2;1;5\n3;9;4\n"
    assert read_table(table(content), "y 1")[2] == ["height, m", "mass | kg"]
    content = '"a;b","c d",y\n1,2,3\n2,1,5\n3,9,4\n'
    assert read_table(table(content), "y")[2] == ["a;b", "c d"]


def test_a_mark_at_the_beginning_is_no_part_of_a_name_and_accents_are_one_however_they_are_written(table):
    for form in ("NFC", "NFD"):
        path = table("\ufeff" + unicodedata.normalize(form, "größe,é\n1,2\n2,5\n3,4\n"))
        for asked in ("NFC", "NFD"):
            assert read_table(path, unicodedata.normalize(asked, "größe"))[2] == ["é"]


def workbook():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("xl/workbook.xml", "<workbook/>")
    return stream.getvalue()


REFUSED = {
    "unknown target, semicolons": ("a;b;c\n1;2;3\n", "no column 'y'; its columns are a, b, c .separated by semicolons"),
    "unknown target, tabs": ("a\tb\n1\t2\n", "no column 'y'; its columns are a, b .separated by tabs"),
    "one column": ("abc\n1\n2\n", "one column: neither commas nor semicolons"),
    "no names": ("1;2\n3;4\n", "the first line must be the names"),
    "comment": ("# made by hand\na,y\n1,2\n", "without #"),
    "names after #": ("# y,a\n1,2\n", "no column 'y'; its columns are # y, a; .* without #"),
    "names after #, blanks": ("# y a\n1 2\n", "must have 3 entries .*: remove the # before the names"),
    "comment below": ("a,y\n1,2\n# a note\n3,4\n", "line 3 .*comments are not read"),
    "comment at the end": ("a,y\n1,2\n# a note, too\n", "comments are not read"),
    "thousands": ('a,y\n"1,000",2\n3,4\n', "'1,000' is not a number: write thousands without"),
    "thousands or decimals": ("a;y\n1,000;2\n3,500;4\n", "'1,000' in line 2, and every other, may be"),
    "thousands with points": ("a;y\n1.000,5;2\n3;4\n", "'1.000,5' is not a number: write thousands without"),
    "thousands with blanks": ("a;y\n1 000;2\n3;4\n", "'1 000' is not a number: write thousands without"),
    "thousands with marks": ("a,y\n1'000,2\n3,4\n", "is not a number: write thousands without"),
    "commas and points": ("a;y\n1,5;2\n3.5;4\n", "'1,5' in line 2 has a comma, '3.5' in line 3 a point"),
    "decimal commas between commas": ("a,y\n1,5,2,5\n3,5,4,5\n", "line 2 .*decimal commas"),
    "some decimal commas between commas": ("a,b,y\n1,5,2,7,5\n", "line 2 .*decimal commas"),
    "semicolons under commas": ("a,y\n1;2\n3;4\n", "line 2 .* the header is separated by commas, this line is not"),
    "error of a spreadsheet": ("a,y\n1,2\n#DIV/0!,4\n", "'#DIV/0!' is not a number: an error of a spreadsheet"),
    "decimal comma in quotes": ('a,y\n"1,5",2\n3,4\n', "'1,5' is not a number: write decimals with a point"),
    "missing": ("a,y\n1,2\n,4\n", "'' is not a number: a missing value: fill it in"),
    "missing in words": ("a,y\n1,2\nNA,4\n", "'NA' is not a number: a missing value"),
    "missing as NaN": ("a,y\n1,2\nNaN,4\n", "'NaN' is not a finite number: a missing value"),
    "infinity": ("a,y\n1,2\n-inf,4\n", "'-inf' is not a finite number: give a finite one, or leave out the row"),
    "too large": ("a,y\n1,2\n1e999,4\n", "'1e999' is not a finite number: give a finite one, or leave out the row"),
    "date": ("a,y\n1,2\n2024-01-31,4\n", "'2024-01-31' is not a number: write it as a number, or leave out its column"),
    "word": ("a,y\n1,2\nTrue,4\n", "'True' is not a number: write it as a number, or leave out its column"),
    "digits in groups": ("a,y\n1,2\n1_000,4\n", "'1_000' is not a number: write thousands without"),
    "minus sign": ("a,y\n1,2\n\u22123,4\n", "U.2212 MINUS SIGN: write -"),
    "separators at the ends of rows": ("a,y\n1,2,\n3,4,\n", "line 2 .*remove the separator at its end"),
    "index of pandas": (",a,y\n0,1,2\n1,3,4\n", "column 1 has no name: name it, or remove it"),
    "index of pandas, tabs": ("\ta\ty\n0\t1\t2\n1\t3\t4\n", "column 1 has no name"),
    "more than separators at the ends": ("a,y,\n1,2,9\n3,4,8\n", "line 2 must have 2 entries as the header has, got 3"),
    "open quote": ('a,y\n1,"2\n3,4\n', "a quote may not be closed"),
    "gzip": (gzip.compress(b"a,y\n1,2\n"), "compressed by gzip: unpack it first"),
    "workbook": (workbook(), "a workbook of a spreadsheet"),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "a workbook of an old spreadsheet"),
    "UTF-16": ("a,y\n1,2\n".encode("utf-16"), "text in UTF-16: save it as UTF-8"),
    "UTF-16 without mark": ("a,y\n1,2\n".encode("utf-16-le"), "UTF-16"),
    "UTF-32": ("a,y\n1,2\n".encode("utf-32"), "text in UTF-32"),
    "Latin-1": ("größe,y\n1,2\n".encode("latin-1"), "not text in UTF-8 .byte 0xf6.* Windows-1252, save it as UTF-8"),
    "Latin-1 far below": (b"a,y\n" + b"1,2\n" * 30_000 + b"3,\xe9\n", "byte 0xe9"),
    "web page": ("<!DOCTYPE html>\n<title>a,y</title>", "a page of the web"),
    "same names": ("a;y;a\n1;2;3\n", "columns with the same name: a, y, a"),
    "same name, written in two ways": ("é,e\u0301,y\n1,2,3\n", "columns with the same name"),
    "empty": ("", "got no rows"),
    "mark alone": ("\ufeff", "got no rows"),
    "sep= alone": ("sep=;\n", "got no rows"),
    "odd sep=": ("sep=1\na1y\n213\n", "no column 'y'"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_is_refused_with_cause_and_remedy(table, content, message):
    with pytest.raises(InvalidInputError, match=message):
        read_table(table(content), "y")


UNSEEN = {
    "\0": "U+0000 NULL",
    "\x1b": "U+001B ESCAPE",
    "\x7f": "U+007F DELETE",
    "\x9b": "U+009B CONTROL CHARACTER",
    "\t": "U+0009 TAB",
    "\u202e": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "\u2066": "U+2066 LEFT-TO-RIGHT ISOLATE",
    "\u200b": "U+200B ZERO WIDTH SPACE",
    "\u200d": "U+200D ZERO WIDTH JOINER",
    "\u00ad": "U+00AD SOFT HYPHEN",
    "\ufeff": "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    "\u2028": "U+2028 LINE SEPARATOR",
    "\u3164": "U+3164 HANGUL FILLER",
    "\U000e0041": "U+E0041 TAG LATIN CAPITAL LETTER A",
}


@pytest.mark.parametrize("character", UNSEEN, ids=UNSEEN.values())
def test_names_with_characters_that_cannot_be_seen_are_refused_by_name(table, character):
    path = table(f"a{character}b,y\n1,2\n3,4\n")
    with pytest.raises(InvalidInputError) as error:
        read_table(path, "y")
    assert f"with {UNSEEN[character]}: rename it" in str(error.value)
    assert str(error.value).isprintable()


@settings(max_examples=200, deadline=None)
@given(
    separator=st.sampled_from(",;\t| "),
    rows=st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=2, max_size=6),
    decimal=st.sampled_from(".,"),
    end=st.sampled_from(["\n", "\r\n"]),
    trailing=st.booleans(),
)
def test_whatever_separates_columns_the_numbers_are_the_same_or_refused(
    tmp_path_factory, separator, rows, decimal, end, trailing
):
    """A refusal only where a comma may be of two kinds."""
    if separator == "," and decimal == ",":
        return
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    lines = [["x", "y", "z"], *([repr(v).replace(".", decimal) for v in row] for row in rows)]
    last = separator if trailing else ""
    path.write_text("".join(separator.join(line) + last + end for line in lines), newline="")
    try:
        _, y, names = read_table(path, "y")
    except InvalidInputError as problem:
        assert "constant" in str(problem) or ("may be a decimal one" in str(problem) and decimal == ",")  # noqa: PT017
        return
    assert names == ["x", "z"]
    np.testing.assert_array_equal(y, [row[1] for row in rows])
