"""The data: the paper's task, and tables of one's own with everything that can be wrong in a file."""

import csv
import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynsys import InvalidInputError
from dynsys.models.weight_dynamics import read_table, regression_task

fuzz = settings(max_examples=300, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A path for examples that Hypothesis draws by the hundred."""
    return tmp_path_factory.mktemp("fuzz") / "table.csv"


def test_task_has_the_formula_and_shapes_of_the_paper():
    X, y = regression_task()
    assert (X.shape, y.shape) == ((1000, 2), (1000,))
    np.testing.assert_array_equal(y, 10 * X[:, 0] - 2 * X[:, 1] ** 2)


def test_moments_of_the_task_are_those_of_normal_inputs():
    """Var y = 100 + 4 * 2 = 108, mean -2; every moment within four standard errors."""
    samples = 200_000
    X, y = regression_task(samples, seed=7)
    for values, exact in ((X[:, 0], 0), (X[:, 1], 0), (X[:, 0] ** 2, 1), (X[:, 1] ** 2, 1), (X[:, 0] * X[:, 1], 0)):
        assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(samples)
    squared = (y - y.mean()) ** 2
    assert abs(squared.mean() - 108) < 4 * squared.std() / np.sqrt(samples)
    assert abs(y.mean() + 2) < 4 * y.std() / np.sqrt(samples)


def test_seed_fixes_the_task_bit_for_bit():
    (a, b), (c, d), (other, _) = regression_task(50, seed=3), regression_task(50, seed=3), regression_task(50, seed=4)
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)
    assert np.all(a != other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be a whole number >= 1, got 0"),
        ({"samples": 2.5}, "samples must be .* got 2.5"),
        ({"samples": True}, "samples must be .* got True"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"seed": None}, "seed must be .* got None"),
    ],
)
def test_bad_tasks_are_refused_by_name(options, message):
    with pytest.raises(InvalidInputError, match=message):
        regression_task(**options)


@pytest.mark.parametrize("target", ["height", "age", "mass"])
def test_inputs_are_standardised_and_the_target_is_untouched(table, target):
    numbers = np.random.default_rng(0).normal([170, 40, 1e-5], [10, 15, 1e-6], size=(30, 3))
    names = ["height", "age", "mass"]
    path = table("height,age,mass\n" + "\n".join(",".join(map(repr, map(float, row))) for row in numbers))
    X, y, inputs = read_table(path, target)
    place = names.index(target)
    kept = np.delete(numbers, place, axis=1)
    assert inputs == names[:place] + names[place + 1 :]
    np.testing.assert_array_equal(y, numbers[:, place])
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(X.std(axis=0), 1, rtol=1e-13)
    np.testing.assert_allclose(X * kept.std(axis=0) + kept.mean(axis=0), kept, rtol=1e-13)


def test_marks_of_spreadsheets_are_understood(table):
    """A byte-order mark, line ends of Windows, quotes, blanks around names and numbers, empty lines."""
    X, y, names = read_table(str(table('\ufeff"x" , y\r\n\r\n"1", 10\r\n3 ,-2e1\r\n\r\n')), "y")
    assert names == ["x"]
    np.testing.assert_array_equal(X, [[-1.0], [1.0]])
    np.testing.assert_array_equal(y, [10.0, -20.0])


BAD = {
    "empty": ("", "rows of numbers, got no rows"),
    "blank": ("\n\n", "rows of numbers, got no rows"),
    "header only": ("a,y\n", "rows of numbers, got no rows"),
    "long row": ("a,y\n1,2\n3,4,5\n", "line 3 must have 2 entries as the header has, got 3"),
    "short row": ("a,y\n1,2\n3\n", "line 3 must have 2 entries as the header has, got 1"),
    "text": ("a,y\n1,2\nthree,4\n", "line 3, column a: 'three' is not a number"),
    "gap": ("a,y\n1,2\n,4\n", "line 3, column a: '' is not a number"),
    "comma": ('a,y\n1,2\n"3,5",4\n', "line 3, column a: '3,5' is not a number"),
    "nan": ("a,y\n1,2\n3,nan\n", "line 3, column y: 'nan' is not a finite number"),
    "inf": ("a,y\n1,2\n-inf,4\n", "line 3, column a: '-inf' is not a finite number"),
    "overflow": ("a,y\n1,2\n3,1e999\n", "line 3, column y: '1e999' is not a finite number"),
    "unknown target": ("a,b\n1,2\n3,4\n", "no column 'y'; its columns are a, b"),
    "no header": ("1,2\n3,4\n", "no column 'y'; its columns are 1, 2"),
    "same names": ("a,a,y\n1,2,3\n4,5,6\n", "same name: a, a, y"),
    "same names after blanks": ("a, a,y\n1,2,3\n4,5,6\n", "same name: a, a, y"),
    "target twice": ("a,y,y\n1,2,3\n4,5,6\n", "same name: a, y, y"),
    "constant input": ("a,b,y\n1,7,3\n4,7,6\n", r"column\(s\) b are constant"),
    "constant target": ("a,b,y\n1,7,3\n4,8,3\n", r"column\(s\) y are constant"),
    "one row": ("a,b,y\n1,2,3\n", r"column\(s\) a, b, y are constant"),
    "only target": ("y\n1\n2\n", "only the target column 'y'"),
    "semicolons": ("a;b\n1;2\n", "no column 'y'; its columns are a, b .separated by semicolons."),
    "binary": (bytes(range(256)) * 4, "cannot be read as a CSV file"),
    "latin-1": ("größe,y\n1,2\n".encode("latin-1"), "cannot be read as a CSV file"),
    "utf-16": ("a,y\n1,2\n".encode("utf-16"), "cannot be read as a CSV file"),
    "endless field": ("a,y\n" + "1" * 200_000 + ",2\n", "cannot be read as a CSV file"),
    "line after a blank one": ("a,y\n1,2\n\nthree,4\n", "line 4, column a"),
    "line after a quoted break": ('a,"y\n"\n1,2\nthree,4\n', "line 4, column a"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_tables_are_refused_with_their_place(table, content, message):
    path = table(content)
    with pytest.raises(InvalidInputError, match=message) as error:
        read_table(path, "y")
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["missing.csv", "", "no/such/folder/t.csv", "zero\0byte.csv"])
def test_paths_without_a_file_are_refused(tmp_path, name):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_table(tmp_path / name, "y")


def assert_refused_or_valid(path, target):
    try:
        X, y, names = read_table(path, target)
    except InvalidInputError:
        return
    assert X.shape == (len(y), len(names))
    assert X.size > 0
    assert np.isfinite(X).all()
    assert np.isfinite(y).all()
    assert target not in names
    assert len(set(names)) == len(names)


@fuzz
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_valid(scratch, content):
    scratch.write_bytes(content)
    assert_refused_or_valid(scratch, "y")


@fuzz
@given(st.text(st.sampled_from("ya0123456789.,-+eE_\"' \r\n\t;naif\0"), max_size=120))
def test_random_text_under_a_header_is_refused_or_valid(scratch, rest):
    scratch.write_bytes(("y,a\n" + rest).encode())
    assert_refused_or_valid(scratch, "y")


@fuzz
@given(
    st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False)), max_size=5),
    st.sampled_from(["y", "x", "z"]),
)
@example([(1e308, 1.0), (-1e308, 2.0)], "y")  # the spread overflows
@example([(1e200, 1.0), (-1e200, 2.0)], "y")  # its square does
@example([(0.0, 1.0), (5e-324, 2.0)], "y")  # its square is zero
def test_random_numbers_are_refused_or_valid(scratch, rows, target):
    lines = io.StringIO()
    csv.writer(lines).writerows([("x", "y"), *rows])
    scratch.write_text(lines.getvalue())
    assert_refused_or_valid(scratch, target)
