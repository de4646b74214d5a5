import { expect, it } from 'vitest'
import { event } from '../test/shapes'
import { EMPTY_LOG, takeIn } from './log'

const output = (seq: number, attempt: number, offset: number, text: string) =>
  event({ kind: 'task.output', seq, data: { attempt, offset, text } })

it('joins output by offset, which counts characters and not code units', () => {
  const log = takeIn(EMPTY_LOG, [output(1, 1, 0, 'Hi 👋'), output(2, 1, 4, ' you')])
  expect([log.text, log.incomplete]).toEqual(['Hi 👋 you', false])
})

it('does not double what overlaps or comes twice', () => {
  const first = takeIn(EMPTY_LOG, [output(1, 1, 0, 'abcd')])
  expect(takeIn(first, [output(1, 1, 0, 'abcd'), output(2, 1, 2, 'cdef')]).text).toBe('abcdef')
})

it('says when a part was let go', () => {
  const log = takeIn(EMPTY_LOG, [output(7, 1, 10, 'later')])
  expect([log.text, log.incomplete]).toEqual(['…later', true])
})

it('starts again with a new attempt, and takes nothing more from the old one', () => {
  const log = takeIn(EMPTY_LOG, [
    output(1, 1, 0, 'old'),
    event({ kind: 'task.progress', seq: 2, data: { attempt: 1, done: 1, total: 2 } }),
    event({ kind: 'task.running', seq: 3, data: { attempt: 2 } }),
    output(4, 2, 0, 'new'),
    output(5, 1, 3, 'late'),
  ])
  expect(log).toMatchObject({ attempt: 2, text: 'new', progress: null, state: 'running', seq: 5 })
})

it('knows how far it is', () => {
  const log = takeIn(EMPTY_LOG, [
    event({ kind: 'task.progress', seq: 1, data: { attempt: 1, done: 256, total: 2000, note: 'embedding' } }),
  ])
  expect(log.progress).toEqual({ done: 256, total: 2000, note: 'embedding' })
})
