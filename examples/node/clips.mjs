// Draws, frames and sizes of docs/clips.md, clause by clause.

const WORD = 1n << 64n;
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const WEYL = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const f32 = Math.fround;

// VC-1.2
function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let turn = 0; turn < 10; turn++) {
    if (turn) [k0, k1] = [(k0 + WEYL[0]) % WORD, (k1 + WEYL[1]) % WORD];
    const first = MULTIPLIERS[0] * c0, second = MULTIPLIERS[1] * c2;
    [c0, c1, c2, c3] = [(second >> 64n) ^ c1 ^ k0, second % WORD, (first >> 64n) ^ c3 ^ k1, first % WORD];
  }
  return [c0, c1, c2, c3];
}

export class Draw {
  constructor(seed, iteration, slot) {
    [this.seed, this.iteration, this.slot] = [seed, iteration, slot].map(BigInt);
  }

  *words(name) {
    const letters = [...name].reverse();
    const key = letters.reduce((all, letter) => all * 256n + BigInt(letter.charCodeAt(0)), 0n);
    for (let block = 1n; ; block++) yield* philox([block, this.slot, this.iteration, 0n], [this.seed, key]);
  }

  // VC-1.3
  uniform(name) {
    return Number(this.words(name).next().value >> 11n) * 2 ** -53;
  }

  // VC-1.4
  integer(name, low, high) {
    const count = BigInt(high) - BigInt(low) + 1n;
    for (const word of this.words(name))
      if (word < (WORD / count) * count) return BigInt(low) + (word % count);
  }

  // VC-1.5
  flip(name) {
    return this.uniform(name) < 0.5;
  }
}

// VC-1.6
export function order(seed, epoch, count) {
  const words = new Draw(seed, epoch, 0).words("order");
  const pairs = Array.from({ length: count }, (_, i) => [words.next().value, words.next().value, i]);
  const sign = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  pairs.sort((a, b) => sign(a[0], b[0]) || sign(a[1], b[1]) || a[2] - b[2]);
  return pairs.map((pair) => pair[2]);
}

// VC-1.7
export function element(seed, iteration, slot, batch, count) {
  const place = iteration * batch + slot;
  return order(seed, Math.floor(place / count), count)[place % count];
}

// VC-1.9
export function elementInEpoch(seed, iteration, slot, batch, count, kept) {
  const iterations = kept ? Math.ceil(count / batch) : Math.floor(count / batch);
  const epoch = Math.floor(iteration / iterations);
  return order(seed, epoch, count)[(iteration % iterations) * batch + slot];
}

// VC-1.8
export function frameworkSeed(seed, iteration) {
  return Number(new Draw(seed, iteration, 0).words("dropout").next().value >> 32n);
}

// VC-2.7: products and sums of float64 are exact enough to be rounded once
function linspace(start, end, steps) {
  const step = f32(f32(f32(end) - f32(start)) / Math.max(steps - 1, 1));
  const half = Math.max(Math.floor(steps / 2), 1);
  const number = (k) => (k < half ? f32(start) + step * k : f32(end) - step * (steps - 1 - k));
  return Array.from({ length: steps }, (_, k) => f32(number(k)));
}

function round(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

const range = (count, number) => Array.from({ length: count }, (_, k) => number(k));
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const integer = (draw, low, high) => Number(draw.integer("start", low, high));

// A video has N frames at fps, a clip T frames, every s-th one. VC-2.2, VC-2.3
const strided = {
  training: ({ N, T, s }, draw) => integer(draw, 0, Math.max(N - T * s, 0)),
  test: ({ N }, v, V) => Math.floor(f32(f32(N / V) * v)) % N,
  frames: ({ N, T, s }, a) => range(T, (k) => (a + s * k) % N),
};

// VC-2.5, VC-2.6
const covered = ({ T, s, fps }) => Math.max(((s * T) / 30) * fps, 1);
const spread = {
  training: (video, draw) => Math.max(video.N - covered(video), 0) * draw.uniform("start"),
  test: (video, v, V) => (Math.max(video.N - covered(video), 0) * v) / V,
  frames: (video, a) =>
    linspace(a, a + covered(video) - 1, video.T).map((t) => Math.floor(clamp(t, 0, video.N - 1))),
};

const free = ({ N, T, s }) => N - ((T - 1) * s + 1);

export const TIMING = {
  paper: strided,
  caffe2: strided,
  slowfast: spread,
  // VC-2.4
  mmaction2: { ...strided, test: (video, v, V) => round(v * (Math.max(free(video), 0) / (V - 1))) },
  // VC-2.10
  slowfast_charades: {
    training: (video, draw) => integer(draw, Math.min(free(video), 0), Math.max(free(video), 0)),
    test: (video, v, V) => round((Math.max(free(video), 0) / (V - 1)) * v),
    frames: ({ N, T, s }, a) => range(T, (k) => clamp(a + s * k, 0, N - 1)),
  },
};

// VC-3.5
function cut([height, width], short) {
  const ratio = f32(short / Math.min(height, width));
  return [height, width].map((side) => Math.floor(f32(side * ratio)));
}

// VC-3.6
function shortExact(size, short) {
  const [tall, wide] = cut(size, short);
  return size[0] <= size[1] ? [short, Math.max(wide, short)] : [Math.max(tall, short), short];
}

// VC-3.7
function floored([height, width], short) {
  if (width < height) return [Math.floor((height / width) * short), short];
  return [short, Math.floor((width / height) * short)];
}

const kept = (size, short) => (Math.min(...size) === short ? size : floored(size, short));

export const SIZES = {
  paper: shortExact,
  caffe2: cut,
  slowfast: kept,
  slowfast_charades: kept,
  // VC-3.8
  mmaction2: (size, short) => size.map((side) => Math.floor(side * (short / Math.min(...size)) + 0.5)),
  pytorchvideo: floored,
};
