"""Compiled loops of the star finder: matched smoothing with peaks, and windowed positions."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.compiled import kernel, subkernel

#: Columns of the table that `measure` fills.
X, Y, AMPLITUDE, SIGMA_MAJOR, SIGMA_MINOR, LOST, NORM, PEAK, COLUMNS = 0, 1, 2, 3, 4, 5, 6, 7, 8


@subkernel
def _filter_into(source: np.ndarray, weights: np.ndarray, target: np.ndarray) -> None:
    """Symmetric filter along a row; the pairs of taps are added in a fixed order."""
    n = target.size
    half = weights.size // 2
    w = weights[half]
    middle = source[half:]
    for x in range(n):
        target[x] = w * middle[x]
    for k in range(half):
        w = weights[k]
        left, right = source[k:], source[2 * half - k :]
        for x in range(n):
            target[x] += w * (left[x] + right[x])


@subkernel
def _combine_rows(ring: np.ndarray, newest: int, weights: np.ndarray, target: np.ndarray) -> None:
    """The same along the columns, over a ring of rows whose last one is ``newest``."""
    n = target.size
    taps = weights.size
    half = taps // 2
    w = weights[half]
    middle = ring[(newest - half + taps) % taps]
    for x in range(n):
        target[x] = w * middle[x]
    for k in range(half):
        w = weights[k]
        upper, lower = ring[(newest - k + taps) % taps], ring[(newest - 2 * half + k + taps) % taps]
        for x in range(n):
            target[x] += w * (upper[x] + lower[x])


@subkernel
def _flat_row(
    data: np.ndarray, bad: np.ndarray, y: int, mesh: np.ndarray, step: int, row: np.ndarray, padding: int
) -> None:
    """Subtract the bilinear mesh from a row; zero where unusable. Nodes are at box centres."""
    nx = data.shape[1]
    fy = min(max((y + 0.5) / step - 0.5, 0.0), mesh.shape[0] - 1.0)
    jy = min(int(fy), max(mesh.shape[0] - 2, 0))
    ty = fy - jy
    upper, lower = mesh[jy], mesh[min(jy + 1, mesh.shape[0] - 1)]
    source, flags, target = data[y], bad[y], row[padding:]
    last = mesh.shape[1] - 1
    # Segments between neighbouring nodes, with half a box of constant level at each border.
    for node in range(-1, last + 1):
        a = upper[max(node, 0)] * (1 - ty) + lower[max(node, 0)] * ty
        b = upper[min(node + 1, last)] * (1 - ty) + lower[min(node + 1, last)] * ty
        slope = np.float32((b - a) / step)
        begin = max(0, int(np.ceil((node + 0.5) * step - 0.5)))
        end = nx if node == last else min(nx, int(np.ceil((node + 1.5) * step - 0.5)))
        start = np.float32(a + slope * (begin - ((node + 0.5) * step - 0.5)))
        for j in range(max(end - begin, 0)):
            value = source[begin + j] - (start + slope * np.float32(j))
            usable = (value - value == np.float32(0.0)) & (flags[begin + j] == 0)
            target[begin + j] = value if usable else np.float32(0.0)


@subkernel
def _enter(
    data: np.ndarray,
    bad: np.ndarray,
    y: int,
    mesh: np.ndarray,
    step: int,
    binning: int,
    lines: np.ndarray,
    row: np.ndarray,
    raw: np.ndarray,
    half: int,
) -> None:
    """Flat row of (binned) pixels into `row`, behind `half` of padding, and the brightest pixel of each into `raw`."""
    if binning == 1:
        _flat_row(data, bad, y, mesh, step, row, half)
        for x in range(raw.size):
            raw[x] = row[x + half]
        return
    for k in range(2):
        _flat_row(data, bad, 2 * y + k, mesh, step, lines[k], np.int64(0))
    pairs, below, quarter = lines[0].reshape(-1, 2), lines[1].reshape(-1, 2), np.float32(0.25)
    target = row[half:]
    for x in range(raw.size):
        target[x] = quarter * ((pairs[x, 0] + pairs[x, 1]) + (below[x, 0] + below[x, 1]))
    for x in range(raw.size):
        one, two = max(pairs[x, 0], pairs[x, 1]), max(below[x, 0], below[x, 1])
        raw[x] = max(one, two)


@subkernel
def _unusable(bad: np.ndarray, x: int, y: int, binning: int) -> bool:
    """Whether a pixel, or most of a block of 2 x 2, is bad."""
    if binning == 1:
        return bad[y, x] != 0
    lost = 0
    for k in range(4):
        lost += bad[2 * y + k // 2, 2 * x + k % 2] != 0
    return lost > 2


@subkernel
def _is_summit(a: np.ndarray, b: np.ndarray, c: np.ndarray, x: int) -> bool:
    """Highest of 3x3; of equal neighbours the last one counts."""
    v = b[x]
    before = max(b[x - 1], a[x - 1], a[x], a[x + 1])
    return v >= before and v > max(b[x + 1], c[x - 1], c[x], c[x + 1])


@subkernel
def _search_row(
    smooth: np.ndarray,
    raw: np.ndarray,
    bad: np.ndarray,
    y: int,
    noise: np.ndarray,
    step: int,
    threshold: np.float32,
    sharp: np.float32,
    binning: int,
    found: np.ndarray,
    count: int,
) -> int:
    """Append the peaks of one row; return how many there are by now."""
    nx = smooth.shape[1]
    a, b, c = smooth[(y - 1) % 3], smooth[y % 3], smooth[(y + 1) % 3]
    tiny = np.float32(1e-30)
    for box in range(noise.size):
        level = threshold * noise[box]
        first, last = max(1, box * step), min(nx - 1, (box + 1) * step)
        part = b[first:last]
        above = np.int32(0)  # as wide as the pixels, for the vector unit
        for x in range(part.size):
            above += np.int32(part[x] > level)
        for x in range(first, last if above > 0 else first):
            v = b[x]
            if not v > level or not _is_summit(a, b, c, x) or _unusable(bad, x, y, binning):
                continue
            top = np.float32(0.0)
            for k in range(y - 1, y + 2):
                line = raw[k % raw.shape[0]]
                top = max(top, line[x - 1], line[x], line[x + 1])
            if v >= sharp * (top - 3 * noise[box]) and count < found.shape[0]:
                # the vertex of a parabola through the neighbours: nearer than half a pixel
                across, along = b[x - 1] - 2 * v + b[x + 1], a[x] - 2 * v + c[x]
                middle = np.float32(0.5 * (binning - 1))
                found[count, 0] = binning * (x + 0.5 * (b[x - 1] - b[x + 1]) / min(across, -tiny)) + middle
                found[count, 1] = binning * (y + 0.5 * (a[x] - c[x]) / min(along, -tiny)) + middle
                found[count, 2], found[count, 3] = v, top
                count += 1
    return count


@kernel
def find_peaks(
    data: np.ndarray,
    bad: np.ndarray,
    mesh: np.ndarray,
    noise: np.ndarray,
    step: int,
    weights: np.ndarray,
    threshold: np.float32,
    sharp: np.float32,
    binning: int,
    limit: int,
) -> np.ndarray:
    """Return [x, y, smoothed value, raw maximum] of the peaks of the smoothed image.

    A peak is the highest of 3x3, above ``threshold`` times the local noise of the smoothed image, and
    not as sharp as a single bright pixel (smoothed value below ``sharp`` of the brightest pixel). With a
    ``binning`` of 2 means of 2x2 pixels are smoothed and searched; ``weights`` are then of these.
    """
    ny, nx = data.shape[0] // binning, data.shape[1] // binning
    taps = weights.size
    half = taps // 2
    row = np.zeros(nx + 2 * half, np.float32)
    lines = np.zeros((2, (data.shape[1] + 1) // 2 * 2), np.float32)
    ring = np.zeros((taps, nx), np.float32)
    raw = np.zeros((taps, nx), np.float32)
    smooth = np.zeros((3, nx), np.float32)
    # of the noise: that of a mean of binning**2 pixels, smoothed along both axes
    gain = np.float32((weights**2).sum() / binning)
    boxes, count = step // binning, np.int64(0)
    found = np.empty((limit, 4), np.float32)
    for y in range(-half, ny + half + 1):
        # Row y enters the ring; row y - half is smoothed; row y - half - 1 is searched.
        enter = y + half
        slot = enter % taps
        if enter < ny:
            _enter(data, bad, enter, mesh, step, binning, lines, row, raw[slot], half)
            _filter_into(row, weights, ring[slot])
        else:
            for x in range(nx):
                ring[slot, x] = 0.0
                raw[slot, x] = 0.0
        if y < 0:
            continue
        _combine_rows(ring, enter, weights, smooth[y % 3])
        yc = y - 1
        if yc < 1 or yc >= ny - 1:
            continue
        noise_row = noise[min(yc // boxes, noise.shape[0] - 1)]
        count = _search_row(smooth, raw, bad, yc, noise_row, boxes, threshold * gain, sharp, binning, found, count)
    return found[:count]


@subkernel
def _profile(centre: float, sigma: float, first: int, out: np.ndarray) -> None:
    for k in range(out.size):
        d = (first + k - centre) / sigma
        out[k] = np.exp(-0.5 * d * d)


@subkernel
def _accumulate(
    data: np.ndarray,
    bad: np.ndarray,
    level: float,
    corner: np.ndarray,
    px: np.ndarray,
    py: np.ndarray,
    centre: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Sums over the usable pixels of a window: p2, pI, then those for positions and moments."""
    ny, nx = data.shape
    sums[:] = 0.0
    sums[0] = (px * px).sum() * (py * py).sum()
    first, last = max(0, -corner[0]), min(px.size, nx - corner[0])
    for j in range(max(0, -corner[1]), min(py.size, ny - corner[1])):
        pixels, flags = data[corner[1] + j], bad[corner[1] + j]
        p2 = p2x = p2xx = light = light_x = light_xx = 0.0
        for i in range(first, last):
            value = pixels[corner[0] + i] - level
            if flags[corner[0] + i] != 0 or not np.isfinite(value):
                continue
            p, dx = px[i], corner[0] + i - centre[0]
            pp, pv = p * p, p * value
            p2 += pp
            p2x += pp * dx
            p2xx += pp * dx * dx
            light += pv
            light_x += pv * dx
            light_xx += pv * dx * dx
        w, dy = py[j], corner[1] + j - centre[1]
        sums[1] += w * w * p2
        sums[2] += w * light
        sums[3] += w * light_x
        sums[4] += w * dy * light
        sums[5] += w * w * p2x
        sums[6] += w * w * dy * p2
        sums[7] += w * w * p2xx
        sums[8] += w * w * dy * dy * p2
        sums[9] += w * light_xx
        sums[10] += w * dy * dy * light
        sums[11] += w * dy * light_x
        sums[12] += w * w * dy * p2x


@kernel
def mask_hits(
    data: np.ndarray,
    bad: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    levels: np.ndarray,
    limits: np.ndarray,
    half: int,
    ratio: float,
    out: np.ndarray,
) -> None:
    """Mask pixels near stars that exceed their neighbours by more than optics allow: cosmic rays and hot pixels.

    A pixel exceeds `ratio` times the mean of its good neighbours by the star's limit. Each star is looked at twice: the
    second time the ends of tracks are no neighbours any more.
    """
    ny, nx = data.shape
    out[:] = bad
    for s in range(2 * xs.size):
        k = s // 2
        x0, y0 = int(np.floor(xs[k] + 0.5)), int(np.floor(ys[k] + 0.5))
        for y in range(max(1, y0 - half), min(ny - 1, y0 + half + 1)):
            for x in range(max(1, x0 - half), min(nx - 1, x0 + half + 1)):
                if out[y, x] != 0 or not data[y, x] - levels[k] > limits[k]:
                    continue
                total, count = 0.0, 0
                for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    if out[y + dy, x + dx] == 0 and np.isfinite(data[y + dy, x + dx]):
                        total += data[y + dy, x + dx] - levels[k]
                        count += 1
                if count > 0 and data[y, x] - levels[k] > limits[k] + ratio * max(total / count, 0.0):
                    out[y, x] = 1


@kernel
def measure(
    data: np.ndarray,
    bad: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    levels: np.ndarray,
    sigma: float,
    reach: float,
    table: np.ndarray,
) -> None:
    """Fit position and amplitude of a Gaussian of fixed size to each star (Gauss-Newton).

    With ``w`` the Gaussian itself this is the windowed centroid, and for white noise the estimate of least
    variance; only usable pixels enter the equations, so a masked pixel does not pull the position.
    """
    half = int(np.ceil(3.2 * sigma)) + 1
    size = 2 * half + 1
    px, py, sums = np.empty(size), np.empty(size), np.empty(13)
    corner, centre = np.empty(2, np.int64), np.empty(2)
    s2 = sigma * sigma
    for s in range(xs.size):
        table[s, :] = np.nan
        centre[0], centre[1] = xs[s], ys[s]
        level = levels[s]
        amplitude = 0.0
        done = False
        for _turn in range(40):
            corner[0] = int(np.floor(centre[0] + 0.5)) - half
            corner[1] = int(np.floor(centre[1] + 0.5)) - half
            _profile(centre[0], sigma, corner[0], px)
            _profile(centre[1], sigma, corner[1], py)
            _accumulate(data, bad, level, corner, px, py, centre, sums)
            if not sums[1] > 0.3 * sums[0]:
                break
            amplitude = sums[2] / sums[1]
            if done:
                break
            if not amplitude > 0:
                break
            step_x = s2 * (sums[3] - amplitude * sums[5]) / (amplitude * sums[7])
            step_y = s2 * (sums[4] - amplitude * sums[6]) / (amplitude * sums[8])
            # A step beyond half a sigma is not one of Gauss-Newton's good ones.
            step_x = min(max(step_x, -0.5 * sigma), 0.5 * sigma)
            step_y = min(max(step_y, -0.5 * sigma), 0.5 * sigma)
            centre[0] += step_x
            centre[1] += step_y
            if np.hypot(centre[0] - xs[s], centre[1] - ys[s]) > reach:
                break
            done = abs(step_x) < 2e-4 and abs(step_y) < 2e-4
        if not done:
            continue
        table[s, X], table[s, Y], table[s, AMPLITUDE] = centre[0], centre[1], amplitude
        table[s, LOST], table[s, NORM] = 1.0 - sums[1] / sums[0], sums[1]
        xi, yi = int(np.floor(centre[0] + 0.5)), int(np.floor(centre[1] + 0.5))
        if 0 <= xi < data.shape[1] and 0 <= yi < data.shape[0]:
            table[s, PEAK] = data[yi, xi] - level
        _sizes(sums, s2, table[s])


@subkernel
def _sizes(sums: np.ndarray, s2: float, row: np.ndarray) -> None:
    """Sigma of the two axes from the windowed moments, with the window divided out.

    Missing pixels are replaced by the fitted Gaussian: its part of a moment is the window's (sigma squared / 2)
    times the missing weight, which follows from the ratio to the usable sums.
    """
    weight = sums[2]
    if not weight > 0:
        return
    # Ratio of measured to fitted moments over the same pixels, times the fitted Gaussian's own moment.
    xx = 0.5 * s2 * (sums[9] / weight) / (sums[7] / sums[1])
    yy = 0.5 * s2 * (sums[10] / weight) / (sums[8] / sums[1])
    xy = sums[11] / weight - sums[12] / sums[1]
    mean, diff = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    for column, moment in ((SIGMA_MAJOR, mean + diff), (SIGMA_MINOR, mean - diff)):
        inside = min(max(moment, 0.0), 0.94 * s2)
        row[column] = np.sqrt(inside * s2 / (s2 - inside))
