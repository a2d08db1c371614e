"""The kernels of CLAP's audio tower on a GPU, in Triton; `clap_triton` says what they are for."""

# Triton's language has no types that a checker could read, and writes its constants in capitals.
# mypy: ignore-errors
# A branch on a constant is the compiler's, and costs nothing.
# ruff: noqa: ANN001, ANN201, N803, C901, PLR0912, PLR0915

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["parts"])
def multiply(
    x,
    rows,
    sums,
    weight,
    bias,
    weight_sums,
    residual,
    out,
    out_sums,
    height,
    width,
    channels,
    parts,
    epsilon,
    GATHER: tl.constexpr,
    GROUP: tl.constexpr,
    NORM: tl.constexpr,
    GELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
    SUMS: tl.constexpr,
    EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Tokens x (N, channels) by weight (width, GROUP * channels), with what comes before and after.

    GATHER: `rows` names the tokens, GROUP for each row of the product. NORM: a layer norm comes before,
    without scale and shift, from `sums` (N, parts, 2) and the weights' own sums. GELU: 1 exact, 2 to
    5e-5. RESIDUAL: 1 adds its row to each, 2 the one that `rows` names. SUMS: leaves `out_sums` (height,
    column blocks, 2).
    """
    column_blocks = tl.cdiv(width, BN)
    block = tl.program_id(0)
    column_block = block % column_blocks
    m = (block // column_blocks) * BM + tl.arange(0, BM)
    n = column_block * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    inside_m, inside_n = m < height, n < width
    depth = GROUP * channels
    weights = weight + n[None, :].to(tl.int64) * depth + k[:, None]
    total = tl.zeros((BM,), tl.float32)
    squares = tl.zeros((BM,), tl.float32)
    product = tl.zeros((BM, BN), tl.float32)
    for member in range(GROUP):
        row = m * GROUP + member
        if GATHER:
            row = tl.load(rows + row, mask=inside_m, other=0)
        if NORM:
            for part in range(parts):
                place = sums + 2 * (row * parts + part)
                total += tl.load(place, mask=inside_m, other=0.0)
                squares += tl.load(place + 1, mask=inside_m, other=0.0)
        tokens = x + row[:, None].to(tl.int64) * channels + k[None, :]
        for start in range(0, channels, BK):
            if EVEN:
                left = tl.load(tokens + start, mask=inside_m[:, None], other=0.0)
                right = tl.load(weights + start, mask=inside_n[None, :], other=0.0)
            else:
                left = tl.load(
                    tokens + start, mask=inside_m[:, None] & (start + k < channels)[None, :], other=0.0
                )
                right = tl.load(
                    weights + start, mask=inside_n[None, :] & (start + k < channels)[:, None], other=0.0
                )
            product = tl.dot(left, right, product, input_precision=PRECISION)
        weights += channels
    if NORM:
        mean = total / depth
        scale = tl.rsqrt(squares / depth - mean * mean + epsilon)
        along = tl.load(weight_sums + n, mask=inside_n, other=0.0)
        product = (product - mean[:, None] * along[None, :]) * scale[:, None]
    product += tl.load(bias + n, mask=inside_n, other=0.0)[None, :]
    if GELU == 1:
        product = 0.5 * product * (1.0 + tl.erf(0.7071067811865476 * product))
    if GELU == 2:
        # In a third of erf's instructions.
        bounded = tl.minimum(tl.maximum(product, -4.5), 4.5)
        square = bounded * bounded
        erf = 6.07264724e-11 * square - 6.62915079e-09
        erf = erf * square + 3.18193106e-07
        erf = erf * square - 8.90333338e-06
        erf = erf * square + 1.62848882e-04
        erf = erf * square - 2.07517279e-03
        erf = erf * square + 1.91703691e-02
        erf = erf * square - 1.31969244e-01
        erf = erf * square + 7.97425170e-01
        product = 0.5 * product * (1.0 + erf * bounded)
    inside = inside_m[:, None] & inside_n[None, :]
    if RESIDUAL:
        row = m
        if RESIDUAL == 2:
            row = tl.load(rows + m, mask=inside_m, other=0)
        before = residual + row[:, None].to(tl.int64) * width + n[None, :]
        product += tl.load(before, mask=inside, other=0.0).to(tl.float32)
    rounded = product.to(out.dtype.element_ty)
    tl.store(out + m[:, None].to(tl.int64) * width + n[None, :], rounded, mask=inside)
    if SUMS:
        kept = tl.where(inside, rounded.to(tl.float32), 0.0)
        place = out_sums + 2 * (m * column_blocks + column_block)
        tl.store(place, tl.sum(kept, 1), mask=inside_m)
        tl.store(place + 1, tl.sum(kept * kept, 1), mask=inside_m)


@triton.jit(do_not_specialize=["batch", "heads"])
def attend(
    qkv,
    biases,
    kinds,
    out,
    batch,
    heads,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    IMAGES: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Attention of each head within windows of TOKENS tokens: (N, heads, 3, WIDTH) to (N, heads, WIDTH).

    The queries are scaled by log2(e), and so are the `biases` (kinds, heads, TOKENS, TOKENS); `kinds` says
    which of them is a window's. A window's tokens lie together, image by image.
    """
    head = tl.program_id(0)
    chunks = tl.cdiv(batch, IMAGES)
    window = tl.program_id(1) // chunks
    first = (tl.program_id(1) % chunks) * IMAGES
    token = tl.arange(0, TOKENS)
    channel = tl.arange(0, PADDED)
    inside = (channel < WIDTH)[None, :]
    kind = tl.load(kinds + window)
    square = token[:, None] * TOKENS + token[None, :]
    bias = tl.load(biases + (kind * heads + head) * TOKENS * TOKENS + square).to(tl.float32)
    for image in range(first, tl.minimum(first + IMAGES, batch)):
        row = ((window * batch + image) * TOKENS + token).to(tl.int64) * heads + head
        here = qkv + row[:, None] * (3 * WIDTH) + channel[None, :]
        query = tl.load(here, mask=inside, other=0.0)
        key = tl.load(here + WIDTH, mask=inside, other=0.0)
        value = tl.load(here + 2 * WIDTH, mask=inside, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) + bias
        weights = tl.exp2(scores - tl.max(scores, 1)[:, None])
        heard = tl.dot(weights.to(value.dtype), value, input_precision=PRECISION)
        heard = heard / tl.sum(weights, 1)[:, None]
        tl.store(out + row[:, None] * WIDTH + channel[None, :], heard.to(out.dtype.element_ty), mask=inside)


@triton.jit
def normalise(x, scale, shift, out, sums, height, width, epsilon, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Layer norm of (height, width), with each row's sum and sum of squares."""
    m = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n = tl.arange(0, WIDTH)
    inside_n = n < width
    inside = (m < height)[:, None] & inside_n[None, :]
    here = m[:, None].to(tl.int64) * width + n[None, :]
    wide = tl.load(x + here, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(wide, 1) / width
    apart = tl.where(inside, wide - mean[:, None], 0.0)
    factor = tl.rsqrt(tl.sum(apart * apart, 1) / width + epsilon)
    normal = apart * factor[:, None] * tl.load(scale + n, mask=inside_n, other=0.0)[None, :]
    normal += tl.load(shift + n, mask=inside_n, other=0.0)[None, :]
    rounded = normal.to(out.dtype.element_ty)
    tl.store(out + here, rounded, mask=inside)
    kept = tl.where(inside, rounded.to(tl.float32), 0.0)
    tl.store(sums + 2 * m, tl.sum(kept, 1), mask=m < height)
    tl.store(sums + 2 * m + 1, tl.sum(kept * kept, 1), mask=m < height)
