import { plural } from '../format/numbers'

/** Longer lists of numbers (embeddings) are cut for the eye; copying gives all of them. */
const NUMBERS_SHOWN = 8
const ITEMS_SHOWN = 50

export function shorten(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items: unknown[] = value
    const shown = items.every((item) => typeof item === 'number') ? NUMBERS_SHOWN : ITEMS_SHOWN
    const kept = items.slice(0, shown).map(shorten)
    return items.length > shown ? [...kept, `… ${plural(items.length - shown, 'more item')}`] : kept
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shorten(inner)]))
  }
  return value
}
