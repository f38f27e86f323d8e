// Images as pixels: decoded like `ddrnet predict` does, and label maps to look at and to save.

"use strict";

/** Decode an image file, or a frame of a video, into opaque ImageData, upright as its EXIF tells. */
async function decode(source) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(source, {
      colorSpaceConversion: "none", imageOrientation: "from-image", premultiplyAlpha: "none",
    });
  } catch {
    throw new Error("The browser cannot read this file as an image. PNG, JPEG and WebP work everywhere.");
  }
  const context = canvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return isOpaque(pixels.data) ? pixels : withoutAlpha(bitmap);
}

function canvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function isOpaque(data) {
  for (let at = 3; at < data.length; at += 4) if (data[at] < 255) return false;
  return true;
}

/** Return the colours of an image with its alpha dropped: a 2D canvas would multiply the two. */
function withoutAlpha(bitmap) {
  const { width, height } = bitmap;
  const gl = canvas(1, 1).getContext("webgl");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    throw new Error("This browser cannot read the colours of this transparent image. Save it without transparency.");
  }
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, gl.getParameter(gl.TEXTURE_BINDING_2D), 0);
  const pixels = new ImageData(width, height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(pixels.data.buffer));
  if (gl.getError() !== gl.NO_ERROR) throw new Error("The graphics driver failed on this image.");
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  for (let at = 3; at < pixels.data.length; at += 4) pixels.data[at] = 255;
  return pixels;
}

/** Return pixels of about `area` in all, of the same shape. */
function shrunk(pixels, area) {
  const scale = Math.sqrt(area / (pixels.width * pixels.height));
  const [width, height] = [pixels.width, pixels.height].map((side) => Math.max(1, Math.round(side * scale)));
  const whole = canvas(pixels.width, pixels.height);
  whole.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas(width, height).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Return a label map at another size; each pixel has the label of the nearest one. */
function resized(labels, from, to) {
  if (from.width === to.width && from.height === to.height) return labels;
  const result = new Uint8Array(to.width * to.height);
  const columns = Uint32Array.from({ length: to.width }, (_, x) => Math.floor((x + 0.5) * from.width / to.width));
  for (let y = 0, at = 0; y < to.height; y++) {
    const row = Math.floor((y + 0.5) * from.height / to.height) * from.width;
    for (let x = 0; x < to.width; x++) result[at++] = labels[row + columns[x]];
  }
  return result;
}

/** Return a label map as ImageData, with one [red, green, blue] for each label. */
function painted(labels, { width, height }, colors) {
  const image = new ImageData(width, height);
  for (let index = 0, at = 0; index < labels.length; index++, at += 4) {
    [image.data[at], image.data[at + 1], image.data[at + 2]] = colors[labels[index]];
    image.data[at + 3] = 255;
  }
  return image;
}

/** Return a PNG whose red, green and blue are the label of the pixel. */
async function labelFile(labels, size) {
  const sheet = canvas(size.width, size.height);
  const greys = Array.from({ length: 256 }, (_, label) => [label, label, label]);
  sheet.getContext("2d").putImageData(painted(labels, size, greys), 0, 0);
  return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
}
