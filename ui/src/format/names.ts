/** Names for people, and the values that lists of choices offer. */
import type { TaskState, TaskType } from '../api/types'

const TYPE_NAMES: Partial<Record<string, string>> = {
  long_planning: 'Planning',
  code_generation: 'Code',
  batch_embedding: 'Embedding',
  web_research: 'Research',
  light: 'Light',
  openai_batch: 'Batch',
}

export const TASK_TYPES: readonly TaskType[] = [
  'long_planning',
  'code_generation',
  'batch_embedding',
  'web_research',
  'light',
]

export const TASK_STATES: readonly TaskState[] = [
  'scheduled',
  'queued',
  'running',
  'retrying',
  'succeeded',
  'failed',
  'cancelled',
  'dead',
]

export function typeName(type: string): string {
  return TYPE_NAMES[type] ?? type
}

/** `stream:planning` → `planning`. */
export function streamName(stream: string): string {
  return stream.replace(/^stream:/, '')
}

/** The end of an id, which is what tells ids of one moment apart. */
export function shortId(id: string): string {
  return id.slice(-6)
}
