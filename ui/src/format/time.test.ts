import { describe, expect, it } from 'vitest'
import { formatDuration, formatRelative } from './time'

describe('formatDuration', () => {
  it.each([
    [0, '0 s'],
    [0.44, '0.4 s'],
    [12.3, '12 s'],
    [185, '3 min 5 s'],
    [7_800, '2 h 10 min'],
    [90_000, '1 d 1 h'],
  ])('%d seconds are %s', (seconds, words) => {
    expect(formatDuration(seconds)).toBe(words)
  })
})

describe('formatRelative', () => {
  const now = Date.parse('2026-03-01T12:00:00Z')
  it.each([
    ['2026-03-01T12:00:01Z', 'now'],
    ['2026-03-01T11:59:48Z', '12 s ago'],
    ['2026-03-01T12:03:10Z', 'in 3 min'],
    ['2026-02-27T12:00:00Z', '2 d ago'],
  ])('%s is %s', (iso, words) => {
    expect(formatRelative(iso, now)).toBe(words)
  })
})
