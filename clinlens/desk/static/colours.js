// Methods' colours: apart for every kind of colour vision, and blending as inks do where several methods agree.
// Source: Okabe & Ito, Color Universal Design (2008); its yellow is left out, since it cannot be told from paper.

export const PALETTE = [
  { name: "blue", rgb: [0, 114, 178] },
  { name: "vermilion", rgb: [213, 94, 0] },
  { name: "bluish green", rgb: [0, 158, 115] },
  { name: "reddish purple", rgb: [204, 121, 167] },
  { name: "orange", rgb: [230, 159, 0] },
  { name: "sky blue", rgb: [86, 180, 233] },
  { name: "grey", rgb: [110, 110, 110] },
];
const STRENGTH = 0.78;
/** Luminance at which black and white text have the same contrast, 4.58 : 1; WCAG 2.2 (1.4.3) asks for 4.5 : 1. */
const DARK_BELOW = 0.179;

export const colourOf = (place) => PALETTE[place % PALETTE.length];
export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

/** One paper with several inks on it: each takes its complement away, in proportion to its intensity. */
export function blended(inks, out = [0, 0, 0]) {
  let red = 255, green = 255, blue = 255;
  for (const [[r, g, b], intensity] of inks) {
    const share = STRENGTH * intensity;
    red *= 1 - share * (1 - r / 255);
    green *= 1 - share * (1 - g / 255);
    blue *= 1 - share * (1 - b / 255);
  }
  out[0] = red | 0; out[1] = green | 0; out[2] = blue | 0;
  return out;
}

/** What is left of red, green and blue under one ink, for 256 intensities: the same as above, reckoned once for pictures. */
export function shadesOf(rgb) {
  return Float32Array.from({ length: 768 }, (_, place) => 1 - STRENGTH * (Math.floor(place / 3) / 255) * (1 - rgb[place % 3] / 255));
}

const linear = (part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4);
const LINEAR = Float32Array.from({ length: 256 }, (_, part) => linear(part));

/** Whether text on it must be light. */
export const isDark = ([red, green, blue]) => 0.2126 * LINEAR[red] + 0.7152 * LINEAR[green] + 0.0722 * LINEAR[blue] < DARK_BELOW;

/** From one colour through white to another, for differences: −1 … 1. */
export function diverging(value, out = [0, 0, 0]) {
  return blended([[value < 0 ? PALETTE[1].rgb : PALETTE[0].rgb, Math.min(1, Math.abs(value))]], out);
}
