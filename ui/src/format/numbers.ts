const counts = new Intl.NumberFormat('en')
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const smallMoney = new Intl.NumberFormat('en', { maximumSignificantDigits: 2, maximumFractionDigits: 9 })

export function formatCount(value: number): string {
  return counts.format(value)
}

/** `null` is unknown, which is not zero. */
export function formatKnown(value: number | null): string {
  return value === null ? '?' : formatCount(value)
}

/** 12_345 → "12.3K". */
export function formatCompact(value: number): string {
  return value < 10_000 ? formatCount(value) : compact.format(value)
}

/** "$0", "$0.00043", "$0.042", "$3.10": as many digits as say something. */
export function formatUsd(usd: number): string {
  if (usd === 0) return '$0'
  if (usd < 0.01) return `$${smallMoney.format(usd)}`
  return `$${usd.toFixed(usd < 1 ? 3 : 2)}`
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}
