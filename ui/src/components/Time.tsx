import { formatDuration, formatExact, formatRelative, secondsBetween } from '../format/time'
import { useNow } from './useNow'

/** A moment relative to now, exact on hover. */
export function Time({ at }: { at: string }) {
  const now = useNow()
  return (
    <time dateTime={at} title={formatExact(at)}>
      {formatRelative(at, now)}
    </time>
  )
}

/** How long something took, or takes so far. */
export function Elapsed({ from, to }: { from: string; to: string | null }) {
  const now = useNow()
  const seconds = Math.max(0, secondsBetween(from, to ?? now))
  return <span title={formatExact(from)}>{formatDuration(to === null ? Math.floor(seconds) : seconds)}</span>
}
