import type { LiveState } from '../live/connection'
import { useLiveState } from '../live/context'
import { Pill, type Tone } from './Pill'

const LOOKS: Record<LiveState, { tone: Tone; word: string; title: string }> = {
  connecting: { tone: 'neutral', word: 'connecting', title: 'Connecting to the event stream' },
  live: { tone: 'good', word: 'live', title: 'Changes appear as they happen' },
  reconnecting: {
    tone: 'warn',
    word: 'reconnecting',
    title: 'The connection was lost and is being restored; nothing is missed',
  },
  offline: { tone: 'bad', word: 'offline', title: 'Sophia cannot be reached; still trying' },
}

/** Whether the page is live. */
export function LiveIndicator() {
  const state = useLiveState()
  const { tone, word, title } = LOOKS[state]
  return (
    <span role="status" aria-label={`Connection: ${word}`} data-live={state}>
      <Pill tone={tone} pulse={state !== 'live'} title={title}>
        {word}
      </Pill>
    </span>
  )
}
