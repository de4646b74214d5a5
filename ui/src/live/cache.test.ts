import { QueryClient } from '@tanstack/react-query'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { queueKey } from '../api/queue'
import { taskKeys } from '../api/tasks'
import type { TaskList } from '../api/types'
import { event, summary, task } from '../test/shapes'
import { CacheUpdater, refreshAll } from './cache'

let client: QueryClient
let cache: CacheUpdater

beforeEach(() => {
  vi.useFakeTimers()
  client = new QueryClient()
  cache = new CacheUpdater(client)
})

afterEach(() => {
  cache.stop()
  vi.useRealTimers()
})

it('changes rows at once and fetches lists at a bounded rate, however many events come', async () => {
  const invalidate = vi.spyOn(client, 'invalidateQueries')
  client.setQueryData<TaskList>(taskKeys.list({}), { tasks: [summary({ id: 'a' })], next_cursor: null })
  for (let count = 0; count < 5_000; count += 1)
    cache.push(event({ subject: count % 2 ? 'a' : `other-${count}` }))
  await vi.advanceTimersByTimeAsync(200)
  expect(client.getQueryData<TaskList>(taskKeys.list({}))?.tasks[0]?.state).toBe('running')
  await vi.advanceTimersByTimeAsync(800)
  const lists = invalidate.mock.calls.filter(([filters]) => filters?.queryKey === taskKeys.lists)
  const queues = invalidate.mock.calls.filter(([filters]) => filters?.queryKey === queueKey)
  expect([lists.length, queues.length]).toEqual([1, 1])
})

it('fetches the lists once more when the ledger has caught up', async () => {
  const invalidate = vi.spyOn(client, 'invalidateQueries')
  cache.push(event())
  await vi.advanceTimersByTimeAsync(4_000)
  expect(invalidate.mock.calls.filter(([filters]) => filters?.queryKey === taskKeys.lists)).toHaveLength(2)
})

it('does not touch the cache for output', async () => {
  const invalidate = vi.spyOn(client, 'invalidateQueries')
  cache.push(event({ kind: 'task.output' }))
  await vi.advanceTimersByTimeAsync(4_000)
  expect(invalidate).not.toHaveBeenCalled()
})

it('does not fetch a finished task, which can be large, for nothing', async () => {
  client.setQueryData(taskKeys.one('done'), task({ id: 'done', state: 'succeeded' }))
  client.setQueryData(taskKeys.one('busy'), task({ id: 'busy', state: 'running' }))
  await refreshAll(client)
  const stale = (id: string) => client.getQueryState(taskKeys.one(id))?.isInvalidated
  expect([stale('done'), stale('busy')]).toEqual([false, true])
})
