// Formats numbers and chooses colours like Grafana, restricted to what the dashboard uses. Runs in the page.

const COLORS = {
  text: '#ccccdc', green: '#73bf69', yellow: '#fade2a', orange: '#ff9830', red: '#f2495c', blue: '#5794f2', purple: '#b877d9', 'dark-red': '#c4162a', 'dark-orange': '#fa6400', 'light-blue': '#8ab8ff',
};
/** The first colours of `palette-classic`. */
const CLASSIC = ['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#705da0', '#37872d', '#fade2a', '#447ebc', '#c15c17', '#890f02'];

const TIME = [[1e-6, 'µs'], [1e-3, 'ms'], [1, 's'], [60, 'min'], [3600, 'hour']];
const BINARY = [[1, 'B'], [2 ** 10, 'KiB'], [2 ** 20, 'MiB'], [2 ** 30, 'GiB'], [2 ** 40, 'TiB']];
const DECIMAL = [[1, 'B/s'], [1e3, 'kB/s'], [1e6, 'MB/s'], [1e9, 'GB/s']];
const COUNT = (unit) => [[1, unit], [1e3, `K${unit}`], [1e6, `Mil${unit}`]];

const digits = (value, decimals) => {
  const size = Math.abs(value);
  const places = decimals ?? (size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2);
  return String(Number(value.toFixed(places)));
};

function scaled(scale, value, decimals) {
  const size = Math.abs(value);
  const [factor, unit] = size ? scale.findLast(([each]) => size >= each * 0.9999) ?? scale[0] : scale.find(([each]) => each === 1);
  return [digits(value / factor, decimals), unit];
}

/** Formats a value with its unit. */
function split(value, unit, decimals) {
  if (unit === 's') return scaled(TIME, value, decimals);
  if (unit === 'bytes') return scaled(BINARY, value, decimals);
  if (unit === 'Bps') return scaled(DECIMAL, value, decimals);
  if (unit === 'percentunit') return [digits(value * 100, decimals), '%'];
  if (unit === 'mps') return scaled(COUNT(' msg/s'), value, decimals);
  if (unit === 'cps') return scaled(COUNT(' c/s'), value, decimals);
  if (unit.startsWith('suffix:')) return [digits(value, decimals), unit.slice('suffix:'.length)];
  return scaled(COUNT(''), value, decimals);
}

function format(value, unit, decimals) {
  const [number, suffix] = split(value, unit, decimals);
  return /^[%B]|^$|^ /.test(suffix) ? number + suffix : `${number} ${suffix}`;
}

function threshold(steps, value) {
  return COLORS[steps.findLast((step) => step.value === null || value >= step.value).color];
}
