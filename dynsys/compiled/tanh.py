"""tanh for kernels that Numba vectorises over samples."""

from __future__ import annotations

LANE_TANH = '''

MAGIC = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to a whole number, which then stands in the lowest bits


@njit
def tanh(d):
    """tanh without branches, to a few units in the last place: expm1(2|d|) by range reduction and a polynomial."""
    y = 2.0 * min(abs(d), 20.0)
    shifted = y * 1.4426950408889634 + MAGIC
    whole = shifted - MAGIC
    r = (y - whole * 0.6931471803691238) - whole * 1.9082149292705877e-10
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
    p = p * r + 0.5
    p = r + (r * r) * p
    power = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    e = power * p + (power - 1.0)
    t = e / (e + 2.0)
    return t if d >= 0.0 else (-t if d < 0.0 else d)
'''
