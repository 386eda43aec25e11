// Reduces a PNG to 256 colours, a fraction of a screenshot's size. Runs in the page.

/** Converts a PNG to a smaller one, both in base64. */
async function shrink(png) {
  const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height).getContext('2d');
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, width, height);

  // Similar colours count as one, and the most frequent ones form the palette.
  const counts = new Map();
  for (let at = 0; at < data.length; at += 4) {
    const key = ((data[at] >> 3) << 10) | ((data[at + 1] >> 3) << 5) | (data[at + 2] >> 3);
    const entry = counts.get(key);
    if (entry) { entry.count++; } else counts.set(key, { count: 1, color: [data[at], data[at + 1], data[at + 2]] });
  }
  const palette = [...counts.values()].sort((one, two) => two.count - one.count).slice(0, 256).map(({ color }) => color);
  for (const entry of counts.values()) {
    const distance = (color) => color.reduce((sum, part, n) => sum + (part - entry.color[n]) ** 2, 0);
    entry.index = palette.reduce((best, color, n) => (distance(color) < distance(palette[best]) ? n : best), 0);
  }
  const rows = new Uint8Array((width + 1) * height);
  for (let at = 0; at < width * height; at++) {
    const [red, green, blue] = data.subarray(at * 4, at * 4 + 3);
    rows[at + Math.floor(at / width) + 1] = counts.get(((red >> 3) << 10) | ((green >> 3) << 5) | (blue >> 3)).index;
  }

  const number = (value) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255);
  const pixels = new Uint8Array(await new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream('deflate'))).arrayBuffer());
  const chunk = (name, content) => {
    const body = [...name].map((sign) => sign.charCodeAt()).concat(Array.from(content));
    return [...number(content.length), ...body, ...number(checksum(body))];
  };
  const file = new Uint8Array([
    137, 80, 78, 71, 13, 10, 26, 10,
    ...chunk('IHDR', [...number(width), ...number(height), 8, 3, 0, 0, 0]),
    ...chunk('PLTE', palette.flat()),
    ...chunk('IDAT', pixels),
    ...chunk('IEND', []),
  ]);
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(new Blob([file]));
  });
  return url.split(',')[1];
}

function checksum(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
