import { Text } from '@mantine/core'
import type { ReactNode } from 'react'
import type { Budget, TaskView } from '../api/types'
import { Elapsed, Time } from '../components/Time'
import { formatCount, formatUsd } from '../format/numbers'
import { streamName, typeName } from '../format/names'
import { formatDuration } from '../format/time'
import { describeTokens } from './tokens'
import classes from './Facts.module.css'

/** Everything about a task that fits on a line. */
export function Facts({ task }: { task: TaskView }) {
  const { usage, budget } = task
  const labels = Object.entries(task.labels)
  return (
    <dl className={classes['facts']}>
      <Fact name="Type">{typeName(task.type)}</Fact>
      <Fact name="Route">
        {streamName(task.route.stream)} → {task.route.target}
        <Text size="xs" c="dimmed">
          {task.route.reason}
        </Text>
      </Fact>
      <Fact name="Priority">{task.priority}</Fact>
      <Fact name="Tier">{task.tier}</Fact>
      <Fact name="Submitted">
        <Time at={task.submitted_at} />
      </Fact>
      {task.due_at !== null && (
        <Fact name="Due">
          <Time at={task.due_at} />
        </Fact>
      )}
      {task.deadline_at !== null && (
        <Fact name="Start by">
          <Time at={task.deadline_at} />
        </Fact>
      )}
      <Fact name={task.finished_at === null ? 'Since' : 'Took in all'}>
        <Elapsed from={task.submitted_at} to={task.finished_at} />
      </Fact>
      <Fact name="Running time">
        {formatDuration(usage.run_s)}
        <Cap value={budget.max_run_s} show={formatDuration} />
      </Fact>
      <Fact name="Tokens">
        {describeTokens(usage)}
        <Cap value={budget.max_tokens} show={formatCount} />
      </Fact>
      <Fact name="Model calls">{formatCount(usage.model_calls)}</Fact>
      <Fact name="Cost">
        <strong>{formatUsd(usage.cost_usd)}</strong>
        <Cap value={budget.max_usd} show={formatUsd} />
      </Fact>
      {labels.length > 0 && (
        <Fact name="Labels">{labels.map(([name, value]) => `${name}: ${value}`).join(', ')}</Fact>
      )}
    </dl>
  )
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  )
}

interface CapProps {
  value: Budget[keyof Budget]
  show: (value: number) => string
}

function Cap({ value, show }: CapProps) {
  if (value === null || value === undefined) return null
  return <span className="faint"> of at most {show(value)}</span>
}
