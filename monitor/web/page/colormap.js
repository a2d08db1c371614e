// The spectrogram's colours: even steps of lightness (OKLab), from the page's own ground to its ink.

const STOPS = {
  // lightness, chroma, hue in degrees
  dark: [[0.2, 0.008, 240], [0.34, 0.06, 262], [0.52, 0.11, 200], [0.72, 0.13, 165], [0.88, 0.13, 110], [0.98, 0.05, 95]],
  light: [[0.975, 0.006, 95], [0.86, 0.07, 170], [0.7, 0.1, 190], [0.5, 0.11, 225], [0.33, 0.1, 268], [0.18, 0.06, 290]],
};

function between(a, b, part) {
  return a.map((value, index) => value + (b[index] - value) * part);
}

// OKLab to sRGB (Ottosson, 2020).
function toRgb([lightness, chroma, hue]) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((linear) => {
    const clear = Math.min(1, Math.max(0, linear));
    return 255 * (clear <= 0.0031308 ? 12.92 * clear : 1.055 * clear ** (1 / 2.4) - 0.055);
  });
}

// 256 colours as the little-endian words of an ImageData.
function table(stops) {
  const words = new Uint32Array(256);
  const bytes = new Uint8ClampedArray(words.buffer);
  for (let level = 0; level < 256; level += 1) {
    const place = (level / 255) * (stops.length - 1);
    const index = Math.min(Math.floor(place), stops.length - 2);
    bytes.set([...toRgb(between(stops[index], stops[index + 1], place - index)), 255], 4 * level);
  }
  return words;
}

export const COLORMAPS = { dark: table(STOPS.dark), light: table(STOPS.light) };
