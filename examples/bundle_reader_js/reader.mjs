// Answers requests from a bundle of lwa, as docs/bundle.md says. Its one dependency is onnxruntime-node.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";

const FORMAT = 2;
const KINDS = {
  "<f4": Float32Array, "<f2": Uint16Array, "|i1": Int8Array, "|u1": Uint8Array, "<i4": Int32Array, "<i8": BigInt64Array,
};

/** An array of numpy's format: `shape`, and `values` in C order; half precision as it is stored, in 16 bits. */
export function parseArray(bytes) {
  if (bytes.toString("latin1", 0, 6) !== "\x93NUMPY" || bytes[6] !== 1) throw new Error("no array of version 1.0");
  const start = 10 + bytes.readUInt16LE(8);
  const head = bytes.toString("latin1", 10, start);
  const kind = /'descr': '([^']+)'/.exec(head)?.[1];
  if (!(kind in KINDS) || !head.includes("'fortran_order': False")) throw new Error(`an array of another form: ${head}`);
  const shape = [.../'shape': \(([^)]*)\)/.exec(head)[1].matchAll(/\d+/g)].map(Number);
  const own = new Uint8Array(bytes.subarray(start)); // a copy: what typed arrays look at has to be aligned
  const values = new KINDS[kind](own.buffer);
  if (values.length !== shape.reduce((a, b) => a * b, 1)) throw new Error("an array of another length");
  return { shape, values };
}

/** A number of half precision. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

export class Bundle {
  /** Open a bundle: its files are those that were written, or an Error says which is not. */
  static async open(folder) {
    const said = JSON.parse(await readFile(join(folder, "bundle.json"), "utf8"));
    if (said.format !== FORMAT) throw new Error(`the bundle has format ${said.format}, not ${FORMAT}`);
    if (said.prior) throw new Error("the bundle has a prior, which this reader does not compute (docs/bundle.md, step 5)");
    const read = async (name) => {
      const bytes = await readFile(join(folder, name));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      if (sha256 !== said.files[name]?.sha256) throw new Error(`${name} is not the file that was saved`);
      return bytes;
    };
    const made = new Bundle();
    made.said = said;
    made.network = await ort.InferenceSession.create(await read("network.onnx"));
    made.special = parseArray(await read("special.npy")).values;
    made.table = await readTable(said, read);
    made.ids = await readTexts(read, "ids");
    made.titles = said.titles ? await readTexts(read, "titles") : null;
    made.index = new Map(made.ids.map((id, item) => [id, item]));
    return made;
  }

  /** The k best items after a history of ids, oldest first: `{ items, scores, unknown }`. */
  async recommend(history, { k = 10, times = null, filterSeen = this.said.filter_seen, exclude = [], allow = null } = {}) {
    if (this.said.times && times?.length !== history.length) throw new Error("this model needs a time for each item");
    const known = history.map((id, place) => [this.index.get(id), times?.[place]]).filter(([item]) => item !== undefined);
    const items = known.map(([item]) => item);
    const scores = await this.scores(items, known.map(([, time]) => time));
    const hidden = new Set([...(filterSeen ? items : []), ...exclude.map((id) => this.index.get(id))]);
    const allowed = allow && new Set(allow.map((id) => this.index.get(id)));
    const left = [...scores.keys()].filter((item) => !hidden.has(item) && (!allowed || allowed.has(item)));
    const best = left.sort((a, b) => scores[b] - scores[a] || a - b).slice(0, k);
    return {
      items: best.map((item) => this.ids[item]),
      scores: best.map((item) => scores[item]),
      unknown: history.filter((id) => !this.index.has(id)),
    };
  }

  /** The score of every item after a history of items; `times` in milliseconds. */
  async scores(items, times) {
    const { width, mask, special, history } = this.said;
    const room = history - (mask ? 1 : 0);
    const newest = items.slice(-room), when = times.slice(-room);
    const rows = newest.map((item) => this.table.subarray(item * width, (item + 1) * width));
    if (mask) rows.push(this.special.subarray((special - 1) * width, special * width));
    if (!rows.length) rows.push(this.special.subarray(0, width)); // padding
    const together = new Float32Array(rows.length * width);
    rows.forEach((row, place) => together.set(row, place * width));
    const feeds = {
      rows: new ort.Tensor("float32", together, [1, rows.length, width]),
      last: new ort.Tensor("int64", BigInt64Array.of(BigInt(rows.length - 1)), [1]),
    };
    if (this.said.times) {
      const own = BigInt64Array.from({ length: rows.length }, (_, place) => BigInt(when[place] ?? 0));
      feeds.times = new ort.Tensor("int64", own, [1, rows.length]);
    }
    const state = Object.values(await this.network.run(feeds))[0].data;
    const made = new Float32Array(this.said.items);
    for (let item = 0; item < made.length; item++) {
      let sum = 0;
      for (let place = 0; place < width; place++) sum += state[place] * this.table[item * width + place];
      made[item] = sum;
    }
    return made;
  }
}

/** The item table in single precision, whatever its form. */
async function readTable(said, read) {
  const { values } = parseArray(await read("items.npy"));
  if (said.table === "float32") return values;
  if (said.table === "float16") return Float32Array.from(values, half);
  const scales = parseArray(await read("scales.npy")).values;
  return Float32Array.from(values, (code, place) => code * scales[Math.floor(place / said.width)]);
}

/** Texts that lie one after another. */
async function readTexts(read, name) {
  const { values: blob } = parseArray(await read(`${name}.npy`));
  const { values: ends } = parseArray(await read(`${name}-ends.npy`));
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return Array.from(ends, (end, place) => decoder.decode(blob.subarray(place ? Number(ends[place - 1]) : 0, Number(end))));
}

// node reader.mjs BUNDLE: each line of stdin is a JSON list of ids, or an object with `history` and other options.
if (import.meta.url === `file://${process.argv[1]}`) {
  const bundle = await Bundle.open(process.argv[2]);
  for (const line of (await readFile("/dev/stdin", "utf8")).split("\n").filter(Boolean)) {
    const asked = JSON.parse(line);
    const { history, ...options } = Array.isArray(asked) ? { history: asked } : asked;
    console.log(JSON.stringify(await bundle.recommend(history, options)));
  }
}
