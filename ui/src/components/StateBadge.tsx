import type { AttemptOutcome, TaskState } from '../api/types'
import { Pill, type Tone } from './Pill'

const TONES: Record<TaskState | AttemptOutcome, Tone> = {
  scheduled: 'neutral',
  queued: 'waiting',
  running: 'active',
  retrying: 'warn',
  succeeded: 'good',
  failed: 'bad',
  cancelled: 'neutral',
  dead: 'bad',
  handed_back: 'neutral',
  lost: 'warn',
}

const WORDS: Partial<Record<TaskState | AttemptOutcome, string>> = { handed_back: 'handed back' }

/** The state of a task, or the outcome of one of its attempts. */
export function StateBadge({ state }: { state: TaskState | AttemptOutcome }) {
  return (
    <Pill
      tone={TONES[state]}
      pulse={state === 'running'}
      hollow={state === 'scheduled' || state === 'cancelled'}
    >
      {WORDS[state] ?? state}
    </Pill>
  )
}
