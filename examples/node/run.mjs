// Compute every vector with block.mjs, print the worst error / bound of z, and write the outputs:
//
//     node run.mjs VECTORS OUTPUTS

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { block } from "./block.mjs";
import { read, write } from "./safetensors.mjs";

const ROUND = { float64: (v) => v, float32: Math.fround };

const [vectors, outputs] = process.argv.slice(2);
if (outputs === undefined) {
  console.error("usage: node run.mjs VECTORS OUTPUTS");
  process.exit(2);
}
mkdirSync(outputs, { recursive: true });
const manifest = JSON.parse(readFileSync(join(vectors, "manifest.json"), "utf8"));
let failed = 0;
for (const vector of manifest.vectors) {
  const tensors = read(join(vectors, vector.file));
  const x = tensors["input/x"];
  const weights = {};
  for (const name of vector.weights) weights[name] = tensors[`weight/${name}`].data;
  const ratios = [];
  for (const dtype of vector.dtypes.filter((d) => d in ROUND)) {
    const input = Array.from(x.data);
    const z = block(vector.spec, weights, input, x.shape, vector.training, ROUND[dtype]);
    const file = join(outputs, `${vector.name}.${dtype}.safetensors`);
    write(file, { z: { shape: x.shape, data: z } }, dtype);
    const worst = worstRatio(z, tensors["expected/z"].data, tensors[`bound/${dtype}/z`].data);
    if (!(worst <= 1)) failed += 1;
    ratios.push(`${dtype} ${worst.toPrecision(3)}`);
  }
  console.log(`${vector.name.padEnd(40)}${ratios.join("   ")}`);
}
console.log(failed === 0 ? "every z is within its bounds" : `${failed} outputs are not`);
process.exitCode = failed === 0 ? 0 : 1;

/** The largest |received - expected| / bound; an infinite bound is not judged. */
function worstRatio(received, expected, bound) {
  let worst = 0;
  expected.forEach((right, k) => {
    if (bound[k] === Infinity) return;
    const came = received[k];
    let ratio = came === right ? 0 : Math.abs(came - right) / bound[k];
    if (Number.isNaN(right)) ratio = Number.isNaN(came) ? 0 : Infinity;
    else if (right === Infinity) ratio = Number.isFinite(came) ? Infinity : 0; // NL-11.3
    else if (Number.isNaN(came)) ratio = Infinity;
    worst = Math.max(worst, ratio);
  });
  return worst;
}
