/**
 * The task list is read from the ledger, which follows the queue within about a second. What events have said since
 * is kept here and laid over fetched rows, so that a row never falls back to an older state.
 */
import type { EventView, TaskList, TaskState, TaskSummary } from './types'

const KEPT = 5_000

const STATE_OF_KIND: Partial<Record<string, TaskState>> = {
  'task.scheduled': 'scheduled',
  'task.queued': 'queued',
  'task.running': 'running',
  'task.retrying': 'retrying',
  'task.succeeded': 'succeeded',
  'task.failed': 'failed',
  'task.cancelled': 'cancelled',
  'task.dead': 'dead',
}

/** The state that an event says its task is in now; `undefined` for output, progress and other topics. */
export function stateOf(event: EventView): TaskState | undefined {
  return STATE_OF_KIND[event.kind]
}

export class RecentChanges {
  readonly #events = new Map<string, EventView>()

  note(event: EventView): void {
    // Taken out first, so that the map's order is the order of the last change.
    this.#events.delete(event.subject)
    this.#events.set(event.subject, event)
    if (this.#events.size <= KEPT) return
    const oldest = this.#events.keys().next().value
    if (oldest !== undefined) this.#events.delete(oldest)
  }

  /** The same list when nothing in it is older than what events have said. */
  apply(list: TaskList): TaskList {
    const tasks = list.tasks.map((task) => patched(task, this.#events.get(task.id)))
    return tasks.every((task, index) => task === list.tasks[index]) ? list : { ...list, tasks }
  }
}

export const recentChanges = new RecentChanges()

function patched(task: TaskSummary, event: EventView | undefined): TaskSummary {
  const state = event && stateOf(event)
  if (event === undefined || state === undefined) return task
  if (Date.parse(event.at) <= Date.parse(task.updated_at)) return task
  const attempt = event.data['attempt']
  const attempts = typeof attempt === 'number' ? Math.max(task.attempts, attempt) : task.attempts
  return { ...task, state, updated_at: event.at, attempts }
}
