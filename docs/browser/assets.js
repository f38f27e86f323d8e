// Loads the files in assets/, which are scripts: a page opened from a folder may fetch nothing else.

"use strict";

const waiting = new Map();

/** Called by each file in assets/ with its content, in base64 of gzip. */
function deliver(name, text) {
  waiting.get(name)(text);
}

/** Return the content of a file in assets/, as a Response. */
async function asset(name) {
  const text = await new Promise((resolve, reject) => {
    waiting.set(name, resolve);
    const script = document.createElement("script");
    script.src = `assets/${name}.js`;
    script.onerror = () => reject(new Error(
      `The file ${script.src} cannot be loaded. It belongs beside this page; build the page again, or check the connection.`));
    document.head.append(script);
    script.onload = () => script.remove();
  });
  const packed = await fetch(`data:application/octet-stream;base64,${text}`);
  return new Response(packed.body.pipeThrough(new DecompressionStream("gzip")));
}
