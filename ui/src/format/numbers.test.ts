import { describe, expect, it } from 'vitest'
import { formatCompact, formatKnown, formatUsd, plural } from './numbers'

describe('formatUsd', () => {
  it.each([
    [0, '$0'],
    [0.00000012, '$0.00000012'],
    [0.000431, '$0.00043'],
    [0.0421, '$0.042'],
    [3.1, '$3.10'],
  ])('%d is %s', (usd, words) => {
    expect(formatUsd(usd)).toBe(words)
  })
})

it('tells unknown from zero', () => {
  expect([formatKnown(null), formatKnown(0)]).toEqual(['?', '0'])
})

it('keeps small counts exact', () => {
  expect([formatCompact(9_999), formatCompact(12_345)]).toEqual(['9,999', '12.3K'])
  expect([plural(1, 'task'), plural(2_000, 'text')]).toEqual(['1 task', '2,000 texts'])
})
