const MINUTE_S = 60
const HOUR_S = 3_600
const DAY_S = 86_400

const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
const day = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' })

/** "0.4 s", "12 s", "3 min 5 s", "2 h 10 min". */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${trimZero(Math.max(0, seconds).toFixed(1))} s`
  const whole = Math.round(seconds)
  if (whole < MINUTE_S) return `${whole} s`
  if (whole < HOUR_S) return join(Math.floor(whole / MINUTE_S), 'min', whole % MINUTE_S, 's')
  if (whole < DAY_S)
    return join(Math.floor(whole / HOUR_S), 'h', Math.floor((whole % HOUR_S) / MINUTE_S), 'min')
  return join(Math.floor(whole / DAY_S), 'd', Math.floor((whole % DAY_S) / HOUR_S), 'h')
}

/** How far `iso` is from `nowMs`: "now", "12 s ago", "in 3 min", and a date when it is far. */
export function formatRelative(iso: string, nowMs: number): string {
  const seconds = Math.round((nowMs - Date.parse(iso)) / 1000)
  const distance = Math.abs(seconds)
  // Clocks of browser and server differ by a little.
  if (distance < 2) return 'now'
  if (distance >= 30 * DAY_S) return day.format(new Date(iso))
  const words = coarse(distance)
  return seconds > 0 ? `${words} ago` : `in ${words}`
}

export function formatExact(iso: string): string {
  return exact.format(new Date(iso))
}

export function secondsBetween(from: string, to: string | number): number {
  return ((typeof to === 'number' ? to : Date.parse(to)) - Date.parse(from)) / 1000
}

function coarse(seconds: number): string {
  if (seconds < MINUTE_S) return `${seconds} s`
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min`
  if (seconds < DAY_S) return `${Math.floor(seconds / HOUR_S)} h`
  return `${Math.floor(seconds / DAY_S)} d`
}

function join(first: number, unit: string, second: number, smaller: string): string {
  return second === 0 ? `${first} ${unit}` : `${first} ${unit} ${second} ${smaller}`
}

function trimZero(text: string): string {
  return text.replace(/\.0$/, '')
}
