// Compare clips.mjs with the vectors of clips: node check_clips.mjs conformance/vectors/clips

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Draw, SIZES, TIMING, element, elementInEpoch, frameworkSeed, order } from "./clips.mjs";

const folder = process.argv[2];
const read = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));
let compared = 0;

function equal(received, expected, what) {
  assert.deepEqual(received, expected, what);
  compared += 1;
}

const draw = ({ seed, iteration, slot }) => new Draw(seed, iteration, slot);

for (const entry of read("words.json")) {
  const words = draw(entry).words(entry.name);
  const found = entry.words.map(() => words.next().value.toString(16).padStart(16, "0"));
  equal(found, entry.words, "VC-1.2");
}
for (const entry of read("draws.json")) {
  equal(draw(entry).uniform(entry.name), entry.uniform, "VC-1.3");
  equal(draw(entry).flip(entry.name), entry.flip, "VC-1.5");
  for (const { low, high, value } of entry.integers)
    equal(String(draw(entry).integer(entry.name, low, high)), value, "VC-1.4");
}
for (const { seed, count, batch, ...entry } of read("orders.json")) {
  entry.orders.forEach((one, epoch) => equal(order(seed, epoch, count), one, "VC-1.6"));
  entry.elements.forEach((slots, n) =>
    slots.forEach((one, slot) => equal(element(seed, n, slot, batch, count), one, "VC-1.7")),
  );
  for (const kind of ["dropped", "kept"])
    entry[kind].forEach((slots, n) =>
      slots.forEach((one, slot) =>
        equal(elementInEpoch(seed, n, slot, batch, count, kind === "kept"), one, "VC-1.9"),
      ),
    );
  entry.framework_seeds.forEach((one, n) => equal(frameworkSeed(seed, n), one, "VC-1.8"));
}
for (const entry of read("clips.json")) {
  const timing = TIMING[entry.dialect];
  if (!timing) continue; // pytorchvideo needs fractions
  const video = { N: entry.count, T: entry.frames, s: entry.stride, fps: entry.fps[0] / entry.fps[1] };
  const about = `VC-2, ${entry.dialect}, ${JSON.stringify(video)}`;
  equal(timing.frames(video, timing.training(video, draw(entry.draw))), entry.training, about);
  for (const [v, frames] of Object.entries(entry.test))
    equal(timing.frames(video, timing.test(video, Number(v), entry.views)), frames, about);
}
for (const { dialect, size, resized } of read("sizes.json"))
  for (const [short, expected] of Object.entries(resized))
    equal(SIZES[dialect](size, Number(short)), expected, `VC-3, ${dialect}, ${size}, ${short}`);

console.log(`${compared} results are those of the vectors`);
