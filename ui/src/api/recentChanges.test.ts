import { expect, it } from 'vitest'
import { event, summary } from '../test/shapes'
import { RecentChanges } from './recentChanges'

it('lays what events said over rows that are older', () => {
  const changes = new RecentChanges()
  changes.note(event({ kind: 'task.running', data: { attempt: 2 } }))
  const list = { tasks: [summary(), summary({ id: 'other' })], next_cursor: null }
  const after = changes.apply(list)
  expect(after.tasks[0]).toMatchObject({ state: 'running', attempts: 2 })
  expect(after.tasks[1]).toBe(list.tasks[1])
})

it('leaves rows alone that are newer than the event', () => {
  const changes = new RecentChanges()
  changes.note(event({ kind: 'task.running' }))
  const list = {
    tasks: [summary({ state: 'succeeded', updated_at: '2026-03-01T12:00:09Z' })],
    next_cursor: null,
  }
  expect(changes.apply(list)).toBe(list)
})
