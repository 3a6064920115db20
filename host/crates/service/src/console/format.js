// Numbers and times as people read them.

/** `1,234`, `12.3 k`, `4.56 M`. */
export function count(value) {
  if (value === undefined || value === null) return "–";
  if (value < 10_000) return Math.round(value).toLocaleString("en");
  for (const [unit, size] of [["k", 1e3], ["M", 1e6], ["G", 1e9], ["T", 1e12]]) {
    if (value < size * 999.5) return `${digits(value / size)} ${unit}`;
  }
  return value.toExponential(2);
}

/** A number in full. */
export function exact(value) {
  return value === undefined || value === null ? "–" : Math.round(value).toLocaleString("en");
}

/** Events a second. */
export function rate(value) {
  if (value === undefined || value === null) return "–";
  if (value > 0 && value < 10) return value < 0.05 ? "< 0.1" : value.toFixed(1);
  return count(value);
}

/** A duration in ms. */
export function duration(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < 0.05) return "0 ms";
  if (ms < 1_000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${digits(ms / 1_000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`;
  return `${Math.floor(ms / 86_400_000)} d ${Math.floor((ms % 86_400_000) / 3_600_000)} h`;
}

/** A duration in µs, of worker time for one event. */
export function microseconds(us) {
  return us < 1_000 ? `${digits(us)} µs` : duration(us / 1_000);
}

/** How long ago, in one unit. */
export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function bytes(value) {
  if (value === undefined || value === null) return "–";
  if (value < 1_024) return `${value} B`;
  for (const [unit, size] of [["KiB", 2 ** 10], ["MiB", 2 ** 20], ["GiB", 2 ** 30]]) {
    if (value < size * 1_023.5) return `${digits(value / size)} ${unit}`;
  }
  return `${digits(value / 2 ** 40)} TiB`;
}

/** A share of 1 in per cent. */
export function percent(share) {
  if (share === undefined || share === null) return "–";
  const value = share * 100;
  if (value === 0) return "0 %";
  if (value < 0.1) return "< 0.1 %";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** The time of day. */
export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

/** Date and time in UTC, as event times are shown. */
export function moment(ms) {
  if (ms === undefined || ms === null) return "–";
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString().replace("T", " ").replace(/(\.000)?Z$/, "");
}

function digits(value) {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : String(Math.round(value));
}
