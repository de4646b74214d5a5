import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { EventView } from '../api/types'
import { FakeSocket } from '../test/FakeSocket'
import { event } from '../test/shapes'
import { LiveConnection, type LiveState } from './connection'

let states: LiveState[]
let events: EventView[]
let gaps: number
let connection: LiveConnection

beforeEach(() => {
  vi.useFakeTimers()
  FakeSocket.opened = []
  vi.stubGlobal('WebSocket', FakeSocket)
  states = []
  events = []
  gaps = 0
  connection = new LiveConnection({
    url: 'ws://gateway.test/ws',
    key: 'k',
    topics: ['tasks'],
    onState: (state) => states.push(state),
    onEvent: (given) => events.push(given),
    onGap: () => (gaps += 1),
  })
  connection.start()
})

afterEach(() => {
  connection.stop()
  vi.useRealTimers()
})

function goLive(cursor = '5-0') {
  FakeSocket.last.accept()
  FakeSocket.last.says({ op: 'subscribed', cursor })
}

it('names itself by subprotocol, subscribes, and asks for what changed before it was live', () => {
  goLive()
  expect(FakeSocket.last.protocols).toEqual(['sophia.v1', 'bearer.k'])
  expect(FakeSocket.last.sent).toEqual([{ op: 'subscribe', topics: ['tasks'], after: null }])
  expect(states).toEqual(['connecting', 'live'])
  expect(gaps).toBe(1)
})

it('comes back from the last cursor without asking for everything again', () => {
  goLive()
  FakeSocket.last.says({ op: 'event', event: event({ cursor: '7-0' }) })
  FakeSocket.last.drops()
  expect(states.at(-1)).toBe('reconnecting')
  vi.advanceTimersByTime(1_000)
  goLive('7-0')
  expect(FakeSocket.opened).toHaveLength(2)
  expect(FakeSocket.last.sent).toEqual([{ op: 'subscribe', topics: ['tasks'], after: '7-0' }])
  expect([events.length, gaps, states.at(-1)]).toEqual([1, 1, 'live'])
})

it('comes back from the subscription when no event came', () => {
  goLive('5-0')
  FakeSocket.last.drops()
  vi.advanceTimersByTime(1_000)
  FakeSocket.last.accept()
  expect(FakeSocket.last.sent).toEqual([{ op: 'subscribe', topics: ['tasks'], after: '5-0' }])
})

it('fetches everything again after a gap', () => {
  goLive()
  FakeSocket.last.says({ op: 'gap' })
  expect(gaps).toBe(2)
})

it('says that it is offline when it fails again and again, and tries on', () => {
  for (let failure = 0; failure < 4; failure += 1) {
    FakeSocket.last.drops()
    vi.advanceTimersByTime(5_000)
  }
  expect(states).toContain('offline')
  goLive()
  expect(states.at(-1)).toBe('live')
})

it('does not wait for ever for a server that says nothing', () => {
  FakeSocket.last.accept()
  vi.advanceTimersByTime(10_000)
  expect(states.at(-1)).toBe('reconnecting')
  expect(FakeSocket.opened[0]?.closed).toBe(true)
})
