import type { QueueView } from '../api/types'
import { formatKnown } from '../format/numbers'
import classes from './QueueTotals.module.css'

/** How many tasks are in each state that is not over, and how many need somebody to look. */
export function QueueTotals({ queue }: { queue: QueueView }) {
  return (
    <dl className={classes['totals']} aria-label="Tasks by state">
      <Total name="waiting" value={queue.waiting} />
      <Total name="running" value={queue.running} />
      <Total name="scheduled" value={queue.delayed} />
      <Total name="retrying" value={queue.retrying} />
      <Total name="dead" value={queue.dead} />
    </dl>
  )
}

function Total({ name, value }: { name: string; value: number | null }) {
  return (
    <div className={classes['total']} data-zero={value === 0}>
      <dt>{name}</dt>
      <dd>{formatKnown(value)}</dd>
    </div>
  )
}
