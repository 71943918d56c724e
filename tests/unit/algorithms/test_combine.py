from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.combine import (
    NoiseModel,
    Rejection,
    combine,
)

KEEP_ALL = Rejection()
TIERS = [0 | 2 | 4, 8, 32, 1, 64]


def stack(n, shape=(11, 29), seed=0, bad=0.1, outliers=0.05):
    rng = np.random.default_rng(seed)
    data = rng.normal(5000, 40, (n, *shape)).astype(np.float32)
    data += np.where(rng.random(data.shape) < outliers, 900, 0).astype(np.float32)
    dq = np.where(rng.random(data.shape) < bad, rng.choice([1, 2, 4, 8, 16, 32, 64, 9], data.shape), 0)
    data[rng.random(data.shape) < bad / 5] = np.nan
    var = rng.uniform(1200, 2000, data.shape).astype(np.float32)
    return data, dq.astype(np.uint16), var


def reference(data, dq, var, method="mean", rejection=KEEP_ALL, weights=None):
    """One pixel in float64, computed from the definition of the rules."""
    x = data.astype(np.float64)
    allowed, used = 0, np.zeros(len(x), bool)
    for tier in TIERS:
        allowed |= tier
        used = np.isfinite(x) & ((dq & ~np.uint16(allowed)) == 0)
        if used.any():
            break
    if not used.any():
        return np.nan, np.nan, 16 | int(np.bitwise_or.reduce(dq)), 0
    kept = used & ~rejected(x, var, used, rejection)
    kept = kept if kept.any() else used
    d, n = x[kept], int(kept.sum())
    w = (
        (1 / var[kept].astype(float) if weights is None else np.asarray(weights)[kept])
        if method == "wtmean"
        else np.ones(n)
    )
    mean = np.sum(w * d) / w.sum()
    with np.errstate(all="ignore"):
        spread = (
            np.sum(w**2 * var[kept]) / w.sum() ** 2
            if var is not None
            else np.sum(w * (d - mean) ** 2) / w.sum() / np.float64(n - 1)
        )
    if "median" in method:
        d = np.sort(d)
        mean = d[(n - 1) // 2] if method == "lmedian" else np.median(d)
        spread *= np.pi / 2
    return mean, spread, int(np.bitwise_or.reduce(dq[kept])), n


def rejected(x, var, used, rejection):
    out = np.zeros(len(x), bool)
    if rejection.rule == "none":
        return out
    if rejection.rule == "minmax":
        n = used.sum()
        order = [i for i in np.argsort(x, kind="stable") if used[i]]
        low, high = (int(n * k / len(x) + 0.001) for k in (rejection.nlow, rejection.nhigh))
        out[order[:low] + order[n - high :]] = True
        return out
    for step in range(2 if rejection.rule == "noise" else rejection.max_iters or 100):
        live = x[used & ~out]
        n = live.size
        if n == 0:
            break
        about_median = step == 0 or (rejection.median_clip and rejection.rule != "noise")
        centre = np.median(live) if about_median else live.mean()
        if rejection.rule == "sigclip":
            limit = np.full(len(x), live.var())
        elif rejection.rule == "varclip":
            limit = var.astype(float)
        elif n < 3:
            break
        else:
            mean_var = var[used & ~out].mean(dtype=float)
            limit = var + np.pi / 2 * mean_var / n if step == 0 else var * (1 - 2 / n) + mean_var / n
        k = np.where(x < centre, rejection.lsigma, rejection.hsigma)
        new = out | (used & ((x - centre) ** 2 > k**2 * limit))
        if rejection.rule != "noise" and (new == out).all():
            break
        out = new
    return out


def check(result, data, dq, var, **kwargs):
    shape = data.shape[1:]
    expected = np.empty((4, *shape))
    for p in np.ndindex(shape):
        at = (slice(None), *p)
        expected[at] = reference(data[at], dq[at], None if var is None else var[at], **kwargs)
    np.testing.assert_array_equal(result.n, expected[3])
    np.testing.assert_array_equal(result.dq, expected[2])
    np.testing.assert_allclose(result.sci, expected[0], rtol=3e-7)
    np.testing.assert_allclose(result.var, expected[1], rtol=1e-4, atol=1e-2)


RULES = [
    KEEP_ALL,
    Rejection("sigclip"),
    Rejection("sigclip", 2.0, 1.5, median_clip=False),
    Rejection("sigclip", 1.5, 1.2, max_iters=2),
    Rejection("sigclip", 0.3, 0.3),  # often takes everything
    Rejection("varclip"),
    Rejection("varclip", 1.5, 1.0, median_clip=False),
    Rejection("noise", 4.0, 4.0),
    Rejection("noise", 1.5, 1.0),
    Rejection("minmax", nlow=1, nhigh=1),
    Rejection("minmax", nlow=0, nhigh=2),
]


@pytest.mark.parametrize("n", [3, 9, 14, 30])
@pytest.mark.parametrize("rejection", RULES, ids=lambda r: f"{r.rule}-{r.lsigma}-{r.nlow}")
def test_rejection_equals_reference(n, rejection):
    data, dq, var = stack(n, seed=n)
    check(combine(data, dq, var, rejection=rejection), data, dq, var, rejection=rejection)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("method", ["mean", "median", "lmedian", "wtmean"])
def test_methods_equal_reference(n, method):
    data, dq, var = stack(n, seed=n, bad=0.4)
    check(combine(list(data), list(dq), list(var), method=method), data, dq, var, method=method)
    if method != "wtmean":
        check(combine(data, dq, method=method), data, dq, None, method=method)


@pytest.mark.parametrize("n", [1025, 3000])
def test_a_burst_of_thousands(n):
    data, dq, var = stack(n, seed=n)
    data, dq, var = data[:, :3, :7], dq[:, :3, :7], var[:, :3, :7]
    for given in ({"rejection": Rejection("noise", 4.0, 4.0)}, {"method": "median"}):
        check(combine(data, dq, var, **given), data, dq, var, **given)


def test_frame_weights():
    data, dq, var = stack(6)
    weights = np.array([1, 2, 3, 1, 2, 3], np.float32)
    check(combine(data, dq, var, method="wtmean", weights=weights), data, dq, var, method="wtmean", weights=weights)
    check(combine(data, dq, method="wtmean", weights=weights), data, dq, None, method="wtmean", weights=weights)


def test_noise_model_equals_its_planes():
    data, dq, _ = stack(7)
    rng = np.random.default_rng(1)
    constant, per_electron = rng.uniform(100, 200, data.shape[1:]), rng.uniform(0.9, 1.1, data.shape[1:])
    levels = rng.uniform(500, 900, 7)
    var = (constant + levels[:, None, None] * per_electron).astype(np.float32)
    rule = Rejection("noise", 5, 5)
    result = combine(data, dq, noise=NoiseModel(constant, per_electron, levels), rejection=rule)
    expected = combine(data, dq, var, rejection=rule)
    np.testing.assert_array_equal(result.n, expected.n)
    np.testing.assert_allclose(result.var, expected.var, rtol=1e-6)


@pytest.mark.parametrize("rule", ["none", "noise"])
def test_variance_of_lamps_of_different_brightness_is_that_of_a_monte_carlo(rule):
    """A faint frame has few photons, however much it is scaled up."""
    rng, levels = np.random.default_rng(1), np.array([4000.0, 2000.0, 1000.0, 500.0, 250.0])
    data = np.array([rng.poisson(s, (200, 200)) + rng.normal(0, 10, (200, 200)) for s in levels], np.float32)
    noise = NoiseModel(np.float32(100.0), np.float32(1.0))
    made = combine(data, noise=noise, rejection=Rejection(rule, 4.0, 4.0), scale=levels.mean() / levels)
    assert np.median(made.var) == pytest.approx(float(made.sci.var()), rel=0.03)


def test_scale_and_zero():
    data, dq, var = stack(4)
    s, z = np.array([1, 2, 0.5, 1.1], np.float32), np.array([0, -5, 10, 3], np.float32)
    moved = data * s[:, None, None] + z[:, None, None]
    expected = combine(moved, dq, var * s[:, None, None] ** 2)
    result = combine(data, dq, var, scale=s, zero=z)
    np.testing.assert_allclose(result.sci, expected.sci, rtol=1e-6)
    np.testing.assert_allclose(result.var, expected.var, rtol=1e-6)


@pytest.mark.parametrize("rejection", [RULES[1], RULES[4], RULES[6], RULES[7], RULES[9]], ids=lambda r: r.rule)
@pytest.mark.parametrize("method", ["mean", "median"])
def test_tiles_threads_and_layout_change_nothing(rejection, method):
    data, dq, var = stack(9, (150, 70), seed=3)
    expected = combine(data, dq, var, rejection=rejection, method=method)
    big = np.asfortranarray(data.astype(">f8"))
    for kwargs in ({"tile": 32}, {"tile": 7}, {"tile": 1000, "threads": 3}):
        result = combine(list(big), dq, var, rejection=rejection, method=method, **kwargs)
        for name in ("sci", "var", "dq", "n"):
            np.testing.assert_array_equal(getattr(result, name), getattr(expected, name), err_msg=f"{name} {kwargs}")


def test_ignored_flags_are_as_if_they_were_not_there():
    data, dq, _ = stack(7, (90, 40), seed=4)
    ignored = np.where(np.random.default_rng(6).random(data[0].shape) < 0.5, 0xFFFF, 2).astype(np.uint16)
    expected, found = combine(data, dq & ~ignored), combine(data, dq, ignored=ignored, threads=2)
    for name in ("sci", "var", "dq", "n"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_one_cosmic_ray_among_three_goes():
    rng = np.random.default_rng(5)
    data = rng.normal(1000, 10, (3, 50, 50)).astype(np.float32)
    data[1, 20, 20] += 200
    data[0, 30, 30] -= 200
    result = combine(data, var=np.full_like(data, 100), rejection=Rejection("noise", 5, 5))
    assert result.n[20, 20] == result.n[30, 30] == 2 and result.n.sum() == 3 * 2500 - 2


def test_nothing_usable():
    data = np.full((3, 1, 1), np.nan, np.float32)
    for rule in RULES[:4]:
        result = combine(data, rejection=rule)
        assert np.isnan(result.sci[0, 0]) and np.isnan(result.var[0, 0])
        assert result.dq[0, 0] == 16 and result.n[0, 0] == 0
    result = combine(np.ones((2, 1, 1)), np.full((2, 1, 1), 17, np.uint16))
    assert result.dq[0, 0] == 17 and np.isnan(result.sci[0, 0])


def test_single_value_has_no_scatter():
    result = combine(np.full((1, 1, 1), 7.0))
    assert result.sci[0, 0] == 7 and np.isnan(result.var[0, 0]) and result.n[0, 0] == 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"method": "mode"}, "mode"),
        ({"rejection": Rejection("magic")}, "magic"),
        ({"rejection": Rejection("varclip")}, "variances"),
        ({"rejection": Rejection("minmax", nlow=1, nhigh=1)}, "leaves nothing"),
        ({"method": "wtmean"}, "weights or variances"),
        ({"weights": [1, 1]}, "wtmean"),
        ({"method": "wtmean", "weights": [1, 0]}, "positive"),
        ({"scale": [1, 1, 1]}, "scale"),
        ({"zero": [1, np.nan]}, "finite"),
        ({"dq": np.zeros((1, 2, 2), np.uint16)}, "1 dq planes"),
        ({"var": np.zeros((2, 2, 3))}, "var of frame 0"),
    ],
)
def test_errors_name_the_cause(kwargs, message):
    with pytest.raises(ValueError, match=message):
        combine(np.zeros((2, 2, 2)), **kwargs)


def test_noise_model_at_the_median_needs_no_levels() -> None:
    rng = np.random.default_rng(12)
    data = rng.normal(200.0, 15.0, (5, 30, 40)).astype(np.float32)
    data[2, 3:6, 4] += 4000.0
    dq = (rng.random(data.shape) < 0.05).astype(np.uint16)
    data[:, 9, 9], dq[:, 8, 8] = np.nan, 16
    constant, per_electron = np.full((30, 40), 25.0, np.float32), np.linspace(0.9, 1.1, 40, dtype=np.float32)[None, :]
    scale = np.array([0.9, 1.0, 1.1, 1.05, 0.95])
    middle = np.nan_to_num(combine(data, dq, method="median", scale=scale).sci)
    shares = np.float32(1) / scale.astype(np.float32)
    var = [(constant + np.maximum(middle, 0.0) * share * per_electron).astype(np.float32) for share in shares]
    for rule in ("noise", "none"):
        rejection = Rejection(rule, 4.0, 4.0)
        twice = combine(data, dq, var, rejection=rejection, scale=scale)
        once = combine(data, dq, noise=NoiseModel(constant, per_electron), rejection=rejection, scale=scale, tile=64)
        np.testing.assert_array_equal(once.n, twice.n)
        np.testing.assert_array_equal(once.dq, twice.dq)
        np.testing.assert_allclose(once.sci, twice.sci, rtol=1e-6)
        np.testing.assert_array_equal(once.var, twice.var)
