/** A task's event log: replayed from the start, then followed until its final event. */
import { backoffMs, sleep } from '../live/backoff'
import { ApiError, send } from './http'
import { SseParser } from './sse'
import type { EventView } from './types'

const FINAL_KINDS = new Set(['task.succeeded', 'task.failed', 'task.cancelled', 'task.dead'])

export function isFinalKind(kind: string): boolean {
  return FINAL_KINDS.has(kind)
}

interface Follow {
  id: string
  /** Resume after this `seq`; 0 replays everything. */
  after: number
  signal: AbortSignal
  /** Whether the task is known to have ended: a log that was let go ends without its final event. */
  isOver: () => boolean
  onEvents: (events: EventView[]) => void
  /** Called with an error while it reconnects, and with `null` once it reads again. */
  onTrouble: (error: Error | null) => void
}

/** Ends when the task has ended, when the gateway refuses for good (it throws then), or on abort. */
export async function followTask(follow: Follow): Promise<void> {
  const place: Place = { seq: follow.after, failures: 0 }
  while (!(await readToEnd(follow, place))) {
    place.failures += 1
    await sleep(backoffMs(place.failures), follow.signal)
  }
}

interface Place {
  /** Of the last event read. */
  seq: number
  /** Since the last event read. */
  failures: number
}

/** Reads one stream until it ends or breaks; `true` when there is nothing more to come. */
async function readToEnd(follow: Follow, place: Place): Promise<boolean> {
  const { id, signal, isOver, onEvents, onTrouble } = follow
  try {
    const response = await send(`/v1/tasks/${encodeURIComponent(id)}/events?after=${place.seq}`, {
      headers: { Accept: 'text/event-stream' },
      signal,
    })
    onTrouble(null)
    for await (const events of readEvents(response)) {
      const fresh = events.filter((event) => event.seq > place.seq)
      const newest = fresh.at(-1)
      if (newest === undefined) continue
      place.seq = newest.seq
      place.failures = 0
      onEvents(fresh)
      if (isFinalKind(newest.kind)) return true
    }
    return isOver()
  } catch (error) {
    if (signal.aborted) return true
    if (error instanceof ApiError && error.status < 500 && error.status !== 429) throw error
    onTrouble(error instanceof Error ? error : new Error(String(error)))
    return false
  }
}

async function* readEvents(response: Response): AsyncGenerator<EventView[]> {
  if (response.body === null) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  const parser = new SseParser()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const events = parser.feed(value).map((message) => JSON.parse(message.data) as EventView)
      if (events.length > 0) yield events
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
