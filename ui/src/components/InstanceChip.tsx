import type { Instance, InstanceState } from '../api/types'
import { shortId } from '../format/names'
import { formatExact } from '../format/time'
import { Pill, type Tone } from './Pill'

const TONES: Record<InstanceState, Tone> = {
  requested: 'neutral',
  booting: 'warn',
  ready: 'good',
  working: 'active',
  draining: 'waiting',
  terminated: 'neutral',
}

const UNDER_WAY: ReadonlySet<InstanceState> = new Set(['requested', 'booting', 'working', 'draining'])

/** One instance: its state in colour and words, and how full it is. */
export function InstanceChip({ instance }: { instance: Instance }) {
  const { state, busy, slots } = instance
  const since = formatExact(instance.ready_at ?? instance.requested_at)
  return (
    <span data-instance={instance.id} data-state={state}>
      <Pill
        tone={TONES[state]}
        pulse={UNDER_WAY.has(state)}
        hollow={state === 'requested' || state === 'terminated'}
        title={`${instance.id}: ${instance.reason || state} (since ${since})`}
      >
        {state}
        {(state === 'working' || state === 'draining') && ` ${busy ?? '?'}/${slots}`}
        <span className="faint">{shortId(instance.id)}</span>
      </Pill>
    </span>
  )
}
