// Numbers for people, as the text report writes them.
const NONE = "–";
function digits(value) {
  const size = Math.abs(value);
  if (size < 0.005) return "0";
  return size < 9.995 ? value.toFixed(2) : size < 99.95 ? value.toFixed(1) : value.toFixed(0);
}
function scaled(value, units) {
  if (value === null || !Number.isFinite(value)) return NONE;
  let [scale, unit] = units[0];
  for (const one of units) if (Math.abs(value) / one[0] >= 0.9995) [scale, unit] = one;
  const number = scale === 1 && Number.isInteger(value) ? value.toFixed(0) : digits(value / scale);
  return `${number} ${unit}`;
}
const duration = (ns) => scaled(ns, [[1, "ns"], [1e3, "µs"], [1e6, "ms"], [1e9, "s"]]);
const bytes = (n) => scaled(n, [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]]);
const bytesPerSecond = (n) => scaled(n, [[1, "B/s"], [1e3, "kB/s"], [1e6, "MB/s"], [1e9, "GB/s"], [1e12, "TB/s"]]);
const operationsPerSecond = (n) => scaled(n, [[1, "OP/s"], [1e3, "kOP/s"], [1e6, "MOP/s"], [1e9, "GOP/s"], [1e12, "TOP/s"]]);
const amount = (n) => scaled(n, [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "B"], [1e12, "T"]]).trim();
const count = (n) => Math.trunc(n).toString().replace(/\B(?=(\d{3})+$)/g, ",");
const tokensPerSecond = (n) => `${n < 1e3 ? digits(n) : count(n)} tok/s`;
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const wholePercent = (share) => `${(100 * share).toFixed(0)} %`;
const ratio = (part, whole) => (whole > 0 ? part / whole : 0);
