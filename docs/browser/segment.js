// The worker: turns pixels into labels with ONNX Runtime (`ort`); knows nothing of the page.

"use strict";

const NAMES = { webgpu: "WebGPU", wasm: "WebAssembly" };
const sessions = new Map(); // name of the model -> its session and what computes it
let providers; // those that have not failed, the preferred one first

/** Prepare the runtime. `glue` is the text of its second script, `wasm` its machine code. */
async function start({ glue, wasm }) {
  const script = new Blob([glue], { type: "text/javascript" });
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(script) };
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  providers = adapter ? ["webgpu", "wasm"] : ["wasm"];
  return {};
}

/** Return the labels of RGBA pixels, a Uint8Array; a provider that fails is not used again. */
async function segment({ model, content, data, width, height }) {
  const images = new ort.Tensor("uint8", withoutAlpha(data), [1, height, width, 3]);
  for (;;) {
    const [provider, next] = providers;
    try {
      const first = !sessions.has(model);
      if (first) {
        sessions.set(model, await ort.InferenceSession.create(content, { executionProviders: [provider] }));
      }
      const begin = performance.now();
      const { labels } = await sessions.get(model).run({ images });
      const milliseconds = performance.now() - begin;
      return { labels: labels.data, milliseconds, first, backend: NAMES[provider] };
    } catch (error) {
      sessions.delete(model);
      if (!next) throw new Error(`${NAMES[provider]} failed, perhaps for lack of memory (${error.message ?? error}).`);
      console.warn(`${NAMES[provider]} failed, ${NAMES[next]} goes on.`, error);
      providers.shift();
      sessions.clear();
    }
  }
}

function withoutAlpha(data) {
  const rgb = new Uint8Array(data.length / 4 * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    rgb[to++] = data[from];
    rgb[to++] = data[from + 1];
    rgb[to++] = data[from + 2];
  }
  return rgb;
}

onmessage = async ({ data: { task, ...given } }) => {
  try {
    postMessage(await { start, segment }[task](given));
  } catch (error) {
    postMessage({ error: error.message });
  }
};
