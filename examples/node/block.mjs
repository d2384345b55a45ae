// The non-local block z = BN(W_z y + b) + x, y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), as docs/spec.md
// has it. The comments name its clauses.
//
// A matrix is an array of rows. `round` is applied to the result of every operation: Math.fround
// computes in float32, v => v in float64.

/**
 * z, flat in the order of x.
 *
 * x: numbers of shape (B, C, ...positions), flat. weights: {name: numbers}, flat, by the names of
 * NL-10.1. spec: the fields of the manifest.
 */
export function block(spec, weights, x, shape, training, round) {
  const [batch, channels, ...positions] = shape;
  const count = positions.reduce((a, b) => a * b, 1); // N
  const w = { ...weights };
  for (const name of Object.keys(w).filter((n) => /^(theta|phi|g|out)\.weight$/.test(n))) {
    w[name] = rowsOf(w[name], name === "out.weight" ? spec.value_channels : channels);
  }
  const v = []; // W_z y + b: B N rows of C
  for (let b = 0; b < batch; b++) {
    const rows = range(count).map((i) => // (N, C)
      range(channels).map((c) => x[(b * channels + c) * count + i]));
    for (const { grid, members } of groups(spec, positions)) {
      const y = operation(spec, w, members.map((i) => rows[i]), grid, round); // (N', V)
      linear(y, w["out.weight"], w["out.bias"], round).forEach((row, k) => {
        v[b * count + members[k]] = row;
      });
    }
  }
  const normalized = spec.batch_norm ? batchNorm(spec, w, v, training, round) : v;
  return x.map((value, k) => { // NL-7.1
    const b = Math.floor(k / count / channels);
    const c = Math.floor(k / count) % channels;
    const i = k % count;
    return round(normalized[b * count + i][c] + value);
  });
}

/** The sets of positions that see each other (NL-6): their indices and the grid they form. */
function groups(spec, positions) {
  const index = range(positions.reduce((a, b) => a * b, 1));
  if (spec.extent === "all" && spec.window === null) return [{ grid: positions, members: index }];
  const [frames, height, width] = positions;
  const pixels = height * width;
  if (spec.extent === "time") {
    return range(pixels).map((p) => ({
      grid: [frames, 1, 1],
      members: index.filter((i) => i % pixels === p),
    }));
  }
  const size = spec.window ?? 1; // frames of a group
  return range(frames / size).map((k) => ({
    grid: [size, height, width],
    members: index.filter((i) => Math.floor(i / pixels / size) === k),
  }));
}

/** y (N, V) of the rows x (N, C), which all see each other. */
function operation(spec, w, x, grid, round) {
  const pools = (at) => spec.subsample !== null && spec.subsample_at === at;
  const pooled = (rows, at) => (pools(at) ? maxPool(rows, grid, spec.subsample) : rows);
  const embed = (name, rows) =>
    name !== "g" && spec.pairwise === "gaussian" // NL-2.2
      ? rows
      : linear(rows, w[`${name}.weight`], w[`${name}.bias`], round); // NL-2.1
  const keys = pooled(x, "input"); // NL-5.4
  const theta = embed("theta", x);
  const phi = pooled(embed("phi", keys), "embedding"); // NL-5.3
  const g = pooled(embed("g", keys), "embedding");
  const f = pairwise(spec, w, theta, phi, round); // (N, M)
  return f.map((row) => {
    const bySum = spec.normalization === "sum";
    const c = bySum ? total(row, round) : row.length; // NL-4.1, 4.2
    const weight = row.map((value) => (c === 0 ? 0 : round(value / c))); // NL-4.4
    return range(spec.value_channels).map((v) => dot(weight, g.map((gj) => gj[v]), round));
  });
}

/** f (N, M); where it is an exp that is normalized by its sum, over its largest value in the row. */
function pairwise(spec, w, theta, phi, round) {
  if (spec.pairwise === "concatenation") { // NL-3.4
    const weight = Array.from(w["f.weight"]);
    const half = spec.inner_channels;
    const a = theta.map((row) => dot(row, weight.slice(0, half), round));
    const b = phi.map((row) => dot(row, weight.slice(half), round));
    const bias = spec.pair_bias ? w["f.bias"][0] : 0;
    return a.map((ai) => b.map((bj) => Math.max(round(round(ai + bj) + bias), 0)));
  }
  const scale = round(spec.scale);
  const t = theta.map((row) => phi.map((key) => round(scale * dot(row, key, round))));
  if (spec.pairwise === "dot_product") return t; // NL-3.3
  return t.map((row) => { // NL-3.1, 3.2
    const shift = spec.normalization === "sum" ? Math.max(...row) : 0; // NL-4.5
    return row.map((value) => round(Math.exp(round(value - shift))));
  });
}

/** (W row + b) for every row. */
function linear(rows, weight, bias, round) {
  return rows.map((row) =>
    weight.map((wd, d) => {
      const sum = dot(wd, row, round);
      return bias === undefined ? sum : round(sum + bias[d]);
    }));
}

/** Max-pooling with window = stride over a grid of rows; what fills no window is dropped (NL-5). */
function maxPool(rows, grid, window) {
  const pooled = grid.map((size, axis) => Math.floor(size / window[axis]));
  return places(pooled).map((place) => {
    const held = places(window).map((offset) => {
      const at = place.map((p, axis) => p * window[axis] + offset[axis]);
      return rows[at.reduce((index, p, axis) => index * grid[axis] + p, 0)];
    });
    return held[0].map((_, d) => Math.max(...held.map((row) => row[d]))); // NaN where there is one
  });
}

/** BN of the rows v, per channel (NL-8). */
function batchNorm(spec, w, v, training, round) {
  const scaled = range(spec.channels).map((c) => {
    const column = v.map((row) => row[c]);
    let [mean, variance] = [w["bn.running_mean"]?.[c], w["bn.running_var"]?.[c]];
    if (training) {
      mean = average(column, round);
      variance = average(column.map((value) => {
        const deviation = round(value - mean);
        return round(deviation * deviation);
      }), round);
    }
    const root = round(Math.sqrt(round(variance + round(spec.eps))));
    return column.map((value) => {
      const normalized = round(round(value - mean) / root);
      return round(round(normalized * w["bn.weight"][c]) + w["bn.bias"][c]);
    });
  });
  return v.map((_, i) => scaled.map((column) => column[i]));
}

function average(values, round) {
  return round(total(values, round) / values.length);
}

function total(values, round) {
  return values.reduce((sum, value) => round(sum + value), 0);
}

function dot(a, b, round) {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum = round(sum + round(a[k] * b[k]));
  return sum;
}

/** All places of a grid, in row-major order. */
function places(grid) {
  return grid.reduce((all, size) => all.flatMap((p) => range(size).map((k) => [...p, k])), [[]]);
}

/** A flat array as rows of this length. */
function rowsOf(flat, length) {
  const rows = range(flat.length / length);
  return rows.map((k) => Array.from(flat.slice(k * length, (k + 1) * length)));
}

function range(n) {
  return Array.from({ length: n }, (_, k) => k);
}
