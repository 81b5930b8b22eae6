// Sizes and times for people.

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Binary units with two decimals, as `cfsctl` prints them: `285 B`, `16.72 KiB`. */
export function formatSize(bytes: number | bigint): string {
  let value = Number(bytes);
  if (value < 1024) return `${value} B`;
  let unit = -1;
  do {
    value /= 1024;
    unit++;
  } while (value >= 1024 && unit < UNITS.length - 1);
  return `${value.toFixed(2)} ${UNITS[unit]}`;
}

/** A duration in milliseconds: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`. */
export function formatDuration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

const FACTORS: Record<string, number> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes of `512M`, `8G` or `8GiB`; undefined when it is not a size. */
export function parseSize(text: string): number | undefined {
  const [, number, unit = ""] = /^(\d{1,12})(?:([KMGT])(?:iB)?)?$/.exec(text) ?? [];
  const bytes = number === undefined ? Number.NaN : Number(number) * (FACTORS[unit] as number);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
