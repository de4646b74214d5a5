/** What a task's event log says, joined up: the text of the newest attempt and how far it is. Pure. */
import { stateOf } from '../api/recentChanges'
import type { EventView, TaskState } from '../api/types'

export interface Progress {
  done: number
  total: number
  note: string
}

export interface TaskLog {
  /** Of the last event that was taken in. */
  seq: number
  /** The attempt that `text` and `progress` belong to. */
  attempt: number
  text: string
  /** Length of the attempt's text so far in Unicode code points, which is what offsets count. */
  points: number
  /** Part of the text was let go before it was read. */
  incomplete: boolean
  progress: Progress | null
  state: TaskState | null
}

export const EMPTY_LOG: TaskLog = {
  seq: 0,
  attempt: 0,
  text: '',
  points: 0,
  incomplete: false,
  progress: null,
  state: null,
}

export function takeIn(log: TaskLog, events: readonly EventView[]): TaskLog {
  return events.reduce(takeOne, log)
}

function takeOne(before: TaskLog, event: EventView): TaskLog {
  if (event.seq <= before.seq) return before
  const attempt = numberOf(event.data['attempt']) ?? before.attempt
  if (attempt < before.attempt) return { ...before, seq: event.seq }
  const fresh = attempt > before.attempt ? { ...EMPTY_LOG, attempt, state: before.state } : before
  const log = { ...fresh, seq: event.seq, state: stateOf(event) ?? before.state }
  if (event.kind === 'task.output') return addText(log, event.data)
  if (event.kind === 'task.progress') return { ...log, progress: progressOf(event.data) }
  return log
}

function addText(log: TaskLog, data: Record<string, unknown>): TaskLog {
  const text = data['text']
  if (typeof text !== 'string') return log
  const offset = numberOf(data['offset']) ?? log.points
  const piece = Array.from(text)
  const known = log.points - offset
  if (known >= piece.length && piece.length > 0) return log
  const missed = known < 0
  return {
    ...log,
    text: log.text + (missed ? '…' : '') + (known > 0 ? piece.slice(known).join('') : text),
    points: offset + piece.length,
    incomplete: log.incomplete || missed,
  }
}

function progressOf(data: Record<string, unknown>): Progress | null {
  const done = numberOf(data['done'])
  const total = numberOf(data['total'])
  if (done === undefined || total === undefined) return null
  return { done, total, note: typeof data['note'] === 'string' ? data['note'] : '' }
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}
