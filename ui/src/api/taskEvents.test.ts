import { expect, it, vi } from 'vitest'
import { openStream, problem, stubGateway } from '../test/gateway'
import { event } from '../test/shapes'
import { followTask } from './taskEvents'
import type { EventView } from './types'

const line = (given: Partial<EventView>) => `id: ${given.seq}\ndata: ${JSON.stringify(event(given))}\n\n`

it('goes on after the last event when the stream breaks, and ends with the final one', async () => {
  vi.useFakeTimers()
  const streams: ReturnType<typeof openStream>[] = []
  const calls = stubGateway({
    'GET /v1/tasks/t/events': ({ init }) => {
      const stream = openStream(init.signal)
      streams.push(stream)
      return stream.response
    },
  })
  const seen: number[] = []
  const done = followTask({
    id: 't',
    after: 0,
    signal: new AbortController().signal,
    isOver: () => false,
    onEvents: (events) => seen.push(...events.map(({ seq }) => seq)),
    onTrouble: () => undefined,
  })
  await vi.waitFor(() => expect(streams).toHaveLength(1))
  streams[0]?.write(line({ seq: 1 }) + line({ seq: 2 }))
  await vi.waitFor(() => expect(seen).toEqual([1, 2]))
  streams[0]?.end()
  await vi.waitFor(() => expect(streams).toHaveLength(2))
  streams[1]?.write(line({ seq: 2 }) + line({ seq: 3, kind: 'task.succeeded' }))
  await done
  expect(seen).toEqual([1, 2, 3])
  expect(calls.map(({ search }) => search)).toEqual(['?after=0', '?after=2'])
  vi.useRealTimers()
})

it('gives up when the gateway refuses', async () => {
  stubGateway({ 'GET /v1/tasks/t/events': () => problem(404, 'not_found', 'No such task') })
  const following = followTask({
    id: 't',
    after: 0,
    signal: new AbortController().signal,
    isOver: () => false,
    onEvents: () => undefined,
    onTrouble: () => undefined,
  })
  await expect(following).rejects.toThrow('No such task')
})
