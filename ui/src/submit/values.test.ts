import { expect, it } from 'vitest'
import { EMPTY_DRAFT, findFaults, inputOf, toSubmission, type Draft } from './values'

it('sends what was filled in and leaves the rest to the server', () => {
  const draft: Draft = {
    ...EMPTY_DRAFT,
    type: 'web_research',
    payloads: {
      web_research: {
        question: 'Why?',
        urls: 'https://a.example\n\n https://b.example ',
        'search.url': 'https://s',
        max_sources: '3',
      },
    },
    common: { 'budget.max_usd': '0.5', max_attempts: '' },
  }
  expect(toSubmission(draft)).toEqual({
    type: 'web_research',
    priority: 'normal',
    tier: 'fast',
    payload: {
      question: 'Why?',
      urls: ['https://a.example', 'https://b.example'],
      search: { url: 'https://s' },
      max_sources: 3,
    },
    budget: { max_usd: 0.5 },
  })
})

it('asks for what is needed', () => {
  expect(findFaults(EMPTY_DRAFT)).toEqual({ goal: 'This is needed.' })
})

it.each([
  ['batch_embedding', 'payload.texts[3]', 'texts'],
  ['web_research', 'payload.search.url', 'search.url'],
  ['web_research', 'payload.search', 'search.url'],
  ['light', 'budget.max_usd', 'budget.max_usd'],
  ['light', 'payload.unknown', null],
] as const)('%s: the field %s is at the input %s', (type, field, path) => {
  expect(inputOf(type, field)).toBe(path)
})
