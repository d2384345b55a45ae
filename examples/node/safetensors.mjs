// Tensors as {dtype, shape, data}, read from and written to safetensors files.
// The format: 8 bytes with the header's length, the header in JSON, then the bytes of the tensors.

import { readFileSync, writeFileSync } from "node:fs";

const ARRAYS = { F64: Float64Array, F32: Float32Array };
const NAMES = { float64: "F64", float32: "F32" };

/** Every tensor of a file, by name. Typed arrays are little-endian wherever Node.js runs. */
export function read(path) {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start));
  delete header.__metadata__;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    const raw = Uint8Array.from(bytes.subarray(start + from, start + to)); // aligned
    tensors[name] = { shape, data: decoded(dtype, raw.buffer) };
  }
  return tensors;
}

/** Write tensors {name: {shape, data}}, all of one dtype, "float64" or "float32". */
export function write(path, tensors, dtype) {
  const header = {};
  const parts = [];
  let offset = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    const part = Buffer.from(ARRAYS[NAMES[dtype]].from(data).buffer);
    header[name] = { dtype: NAMES[dtype], shape, data_offsets: [offset, offset + part.length] };
    parts.push(part);
    offset += part.length;
  }
  let text = JSON.stringify(header);
  text = text.padEnd(Math.ceil(text.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, Buffer.from(text), ...parts]));
}

function decoded(dtype, buffer) {
  if (dtype in ARRAYS) return new ARRAYS[dtype](buffer);
  throw new Error(`expected a tensor of F64 or F32; received ${dtype}`);
}
