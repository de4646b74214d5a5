/** Values as the gateway gives them; a test changes what it is about. */
import type {
  BudgetsView,
  EventView,
  Instance,
  Pool,
  QueueView,
  StreamView,
  TaskSummary,
  TaskView,
  TenantBudget,
  Usage,
} from '../api/types'

const AT = '2026-03-01T12:00:00.000Z'

export const usage: Usage = {
  input_tokens: 0,
  output_tokens: 0,
  embedding_tokens: 0,
  model_calls: 0,
  run_s: 0,
  cost_usd: 0,
}

export function summary(changes: Partial<TaskSummary> = {}): TaskSummary {
  return {
    id: 'task-000001',
    type: 'light',
    tenant: 'default',
    state: 'queued',
    tier: 'fast',
    priority: 'normal',
    route: { stream: 'stream:light', target: 'cpu', reason: 'no rule matched: light tasks run on the CPU' },
    title: 'Say hello',
    submitted_at: AT,
    updated_at: AT,
    finished_at: null,
    attempts: 0,
    usage,
    error: null,
    labels: {},
    ...changes,
  }
}

export function task(changes: Partial<TaskView> = {}): TaskView {
  return {
    ...summary(),
    payload: { prompt: 'Say hello' },
    budget: {},
    due_at: null,
    deadline_at: null,
    cancel_requested: false,
    max_attempts: 3,
    durability: 'queue',
    attempts: [],
    result: null,
    ...changes,
  }
}

export function event(changes: Partial<EventView> = {}): EventView {
  return {
    kind: 'task.running',
    topic: 'tasks',
    subject: 'task-000001',
    at: '2026-03-01T12:00:01.000Z',
    data: {},
    seq: 1,
    cursor: '1-0',
    ...changes,
  }
}

export function streamCell(changes: Partial<StreamView> = {}): StreamView {
  return {
    stream: 'stream:light',
    priority: 'normal',
    waiting: 0,
    running: 0,
    delayed: 0,
    retrying: 0,
    backlog: 0,
    oldest_age_s: null,
    first_entry: null,
    last_entry: null,
    groups: [],
    ...changes,
  }
}

export function queue(changes: Partial<QueueView> = {}): QueueView {
  return {
    streams: [streamCell()],
    waiting: 0,
    running: 0,
    delayed: 0,
    retrying: 0,
    dead: 0,
    poison: 0,
    at: AT,
    ...changes,
  }
}

export function instance(changes: Partial<Instance> = {}): Instance {
  return {
    id: 'cpu-workers-abc123',
    pool: 'cpu-workers',
    state: 'ready',
    instance_type: 'process',
    region: 'local',
    price_usd_per_hour: 0,
    requested_at: AT,
    ready_at: AT,
    busy: 0,
    slots: 4,
    reason: 'reported ready',
    cost_usd: 0,
    ...changes,
  }
}

export function pool(changes: Partial<Pool> = {}): Pool {
  return {
    name: 'cpu-workers',
    provider: 'local',
    streams: ['light', 'research'],
    min: 0,
    max: 2,
    desired: 1,
    reason: '3 tasks wait',
    waiting: 3,
    running: 0,
    idle_timeout_s: 20,
    cordoned: false,
    usd_per_hour: 0,
    spent_usd_today: 0,
    spent_usd_month: 0,
    max_usd_per_day: null,
    max_usd_per_month: null,
    instances: [instance()],
    ...changes,
  }
}

export function budget(changes: Partial<TenantBudget> = {}): TenantBudget {
  return {
    name: 'usd_per_day',
    unit: 'usd',
    period: '2026-03-01',
    cap: 2,
    spent: 0.5,
    reserved: 0.25,
    left: 1.25,
    resets_at: '2026-03-02T00:00:00Z',
    ...changes,
  }
}

export function budgets(...lines: TenantBudget[]): BudgetsView {
  return { tenant: 'default', summary: '', rebuilding: false, budgets: lines, at: AT }
}
