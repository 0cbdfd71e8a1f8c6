"""Elementary functions without branches, which vectors take as numbers do: in the language that is compiled.

Functions of the C library take one number after the other. These have the same bits for numbers and for vectors.
"""

from __future__ import annotations

ELEMENTARY = '''
_MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number


def power_of_two(n):
    """2^n for whole numbers n from -1022 to 1023."""
    return two_to(n + _MAGIC)


def expm1_over(r):
    """(exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2."""
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 0.0001984126984126984
    p = p * r + 0.001388888888888889
    p = p * r + 0.008333333333333333
    p = p * r + 0.041666666666666664
    p = p * r + 0.16666666666666666
    return p * r + 0.5


def tanh(d):
    """To a few units in the last place, with one division.

    2|d| = n ln 2 + r and exp(r) = (A + r)/(A - r), where A = r coth(r/2) is even in r: nothing cancels at n = 0.
    """
    y = 2.0 * min(abs(d), 20.0)
    whole = (y * 1.4426950408889634 + _MAGIC) - _MAGIC
    r = (y - whole * 0.6931471803691238) - whole * 1.9082149292705877e-10
    z = r * r
    A = -1.0568380277374987e-09
    A = A * z + 4.1753513975736195e-08
    A = A * z - 1.6534391534391535e-06
    A = A * z + 6.613756613756614e-05
    A = A * z - 0.002777777777777778
    A = A * z + 0.16666666666666666
    A = A * z + 2.0
    power = power_of_two(whole)
    more, less = power + 1.0, power - 1.0
    return copysign((less * A + more * r) / (more * A + less * r), d)


def exp(d):
    """By range reduction and a polynomial, to a unit in the last place; the power of 2 in two factors."""
    y = max(min(d, 710.0), -746.0)
    whole = (y * 1.4426950408889634 + _MAGIC) - _MAGIC
    r = (y - whole * 0.6931471803691238) - whole * 1.9082149292705877e-10
    half = (0.5 * whole + _MAGIC) - _MAGIC
    e = (r * r * expm1_over(r) + r) + 1.0
    e = e * power_of_two(half) * power_of_two(whole - half)
    return where(d == d, e, d)


def log(d):
    """By the exponent and a series in (m - 1) / (m + 1), to a unit in the last place (as in fdlibm)."""
    small = d < 2.2250738585072014e-308
    y = where(small, d * 18014398509481984.0, d)
    m, n = significand(y), exponent(y) - where(small, 54.0, 0.0)
    large = m > 1.4142135623730951
    m, n = where(large, 0.5 * m, m), where(large, n + 1.0, n)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 0.14798198605116586
    p = p * z + 0.15313837699209373
    p = p * z + 0.1818357216161805
    p = p * z + 0.22222198432149784
    p = p * z + 0.2857142874366239
    p = p * z + 0.3999999999940942
    p = p * z + 0.6666666666666735
    h = 0.5 * f * f
    found = n * 0.6931471803691238 - ((h - (s * (h + z * p) + n * 1.9082149292705877e-10)) - f)
    found = where(d > 0.0, found, where(d == 0.0, -inf, nan))
    return where(d == inf, d, found)
'''
