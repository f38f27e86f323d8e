// The page: an image in, a coloured overlay and the shares of the classes out.

"use strict";

const SHORTEST = 32; // pixels; the network needs as many
const LARGEST = 2048 * 2048; // pixels; more take the memory of a phone, so they are asked for

const at = (id) => document.getElementById(id);
const contents = new Map(); // name of a model -> its file
let models = [];
let worker; // promise of a function that hands a task to the worker
let shown; // what is on the screen: its name, pixels, labels and size
let forPhotos = 0; // index of the model for photos; the rendered street has its own
let busy = false;

/** Run one task at a time; show its error as a sentence. */
async function guarded(task) {
  if (busy) return;
  busy = true;
  at("error").textContent = "";
  document.body.classList.add("busy");
  try {
    await task();
  } catch (error) {
    at("status").textContent = "";
    at("error").textContent = error.message;
    at("result").hidden = true; // an older one would pass for the answer
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

async function prepare() {
  models = await (await asset("models")).json();
  for (const { title } of models) at("model").add(new Option(title));
  describe();
  at("status").textContent = "Ready. The first picture loads the network, about 12 MB.";
}

function choose(index) {
  at("model").selectedIndex = index;
  describe();
}

function describe() {
  const { name, terms } = models[at("model").selectedIndex];
  at("about").textContent = `${name}, run by ONNX Runtime Web. ${terms}`;
}

/** Start the worker with the runtime. A failed start is repeated at the next picture. */
async function started() {
  worker ??= launched();
  try {
    return await worker;
  } catch (error) {
    worker = undefined;
    throw error;
  }
}

async function launched() {
  at("status").textContent = "Loading the network…";
  const [runtime, code, glue, wasm] = await Promise.all(["runtime", "segment", "glue", "wasm"].map(asset));
  const source = new Blob([await runtime.blob(), "\n", await code.blob()], { type: "text/javascript" });
  const thread = new Worker(URL.createObjectURL(source));
  const ask = (task, given) => new Promise((resolve, reject) => {
    thread.onmessage = ({ data }) => data.error ? reject(new Error(data.error)) : resolve(data);
    thread.onerror = () => reject(new Error("The computation stopped. Load the page again, and try a smaller image."));
    thread.postMessage({ task, ...given });
  });
  await ask("start", { glue: await glue.text(), wasm: await wasm.arrayBuffer() });
  return ask;
}

/** Segment an image and show the result. Only `every` pixel of a large one takes its full size. */
async function show(name, pixels, every = false) {
  const { width, height } = pixels;
  if (Math.min(width, height) < SHORTEST) {
    throw new Error(`The image is ${width} × ${height} pixels; the network needs ${SHORTEST} on both sides.`);
  }
  const model = models[at("model").selectedIndex];
  const ask = await started();
  if (!contents.has(model.name)) contents.set(model.name, await (await asset(model.name)).arrayBuffer());
  at("status").textContent = "Computing…";
  const seen = every || width * height <= LARGEST ? pixels : shrunk(pixels, LARGEST);
  const found = await ask("segment", {
    model: model.name, content: contents.get(model.name), data: seen.data, width: seen.width, height: seen.height,
  });
  const labels = resized(found.labels, seen, pixels);
  shown = { name, pixels, labels };
  draw(pixels, labels, model.classes);
  at("every").hidden = seen === pixels;
  const size = seen === pixels ? "" : `, computed at ${seen.width} × ${seen.height}`;
  const note = found.first ? " (the first run is slower)" : "";
  at("status").textContent =
    `${width} × ${height} pixels${size} · ${found.backend} · ${Math.round(found.milliseconds)} ms${note}`;
}

function draw(pixels, labels, classes) {
  for (const [id, image] of [["photo", pixels], ["colors", painted(labels, pixels, classes.map(({ color }) => color))]]) {
    Object.assign(at(id), { width: image.width, height: image.height });
    at(id).getContext("2d").putImageData(image, 0, 0);
  }
  const counts = new Uint32Array(classes.length);
  for (const label of labels) counts[label] += 1;
  const present = classes.map((row, label) => ({ ...row, share: counts[label] / labels.length }))
    .filter(({ share }) => share > 0).sort((a, b) => b.share - a.share);
  at("legend").replaceChildren(...present.map(entry));
  at("result").hidden = false;
}

function entry({ name, color, share }) {
  const [item, patch, text, number] = ["li", "i", "span", "b"].map((tag) => document.createElement(tag));
  patch.style.background = `rgb(${color.join()})`;
  text.textContent = name;
  number.textContent = share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
  item.append(patch, text, number);
  return item;
}

async function showFile(file) {
  closeCamera();
  choose(forPhotos);
  at("status").textContent = "Reading the image…";
  await show(file.name.replace(/\.[^.]*$/, ""), await decode(file));
}

async function showStreet() {
  closeCamera();
  choose(models.findIndex(({ rendered }) => rendered));
  await show("street", await decode(await (await asset("street")).blob()));
}

const CAMERA_ERRORS = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it in the settings of the page.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program uses the camera.",
};

async function openCamera() {
  closeCamera();
  if (!navigator.mediaDevices) throw new Error("Browsers give the camera to pages at https:// or localhost only.");
  try {
    at("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    at("viewfinder").hidden = false;
    await at("video").play();
  } catch (error) {
    closeCamera();
    throw new Error(CAMERA_ERRORS[error.name] ?? `The camera does not start (${error.message}).`);
  }
}

function closeCamera() {
  for (const track of at("video").srcObject?.getTracks() ?? []) track.stop();
  at("video").srcObject = null;
  at("viewfinder").hidden = true;
}

async function shoot() {
  const pixels = await decode(at("video"));
  closeCamera();
  choose(forPhotos);
  await show("camera", pixels);
}

async function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await labelFile(shown.labels, shown.pixels));
  link.download = `${shown.name}.labels.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

at("file").onchange = () => {
  const [file] = at("file").files;
  if (file) guarded(() => showFile(file));
  at("file").value = ""; // the same file can be chosen again
};
at("camera").onclick = () => guarded(openCamera);
at("shoot").onclick = () => guarded(shoot);
at("close").onclick = closeCamera;
at("street").onclick = () => guarded(showStreet);
at("save").onclick = () => guarded(save);
at("every").onclick = () => guarded(() => show(shown.name, shown.pixels, true));
at("model").onchange = () => {
  forPhotos = at("model").selectedIndex;
  describe();
  if (shown) guarded(() => show(shown.name, shown.pixels));
};
at("opacity").oninput = () => { at("colors").style.opacity = at("opacity").value / 100; };
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // elsewhere on the page, too: the browser would leave for the photo
    at("drop").classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", ({ dataTransfer: { files: [file] } }) => {
  if (file) guarded(() => showFile(file));
});
guarded(prepare);
