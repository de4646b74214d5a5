import { Text } from '@mantine/core'
import type { ReactNode } from 'react'
import type { Budget, TaskView } from '../api/types'
import { Elapsed, Time } from '../components/Time'
import { formatCount, formatUsd } from '../format/numbers'
import { streamName, typeName } from '../format/names'
import { formatDuration } from '../format/time'
import { describeTokens, totalTokens } from './tokens'
import classes from './Facts.module.css'

/** Everything about a task that fits on a line. */
export function Facts({ task }: { task: TaskView }) {
  const { usage, budget } = task
  const running = task.state === 'running'
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
      {task.finished_at !== null && (
        <Fact name="Took in all">
          <Elapsed from={task.submitted_at} to={task.finished_at} />
        </Fact>
      )}
      <Fact name="Running time">
        <Spent running={running} known={usage.run_s > 0}>
          {formatDuration(usage.run_s)}
        </Spent>
        <Cap value={budget.max_run_s} show={formatDuration} />
      </Fact>
      <Fact name="Tokens">
        <Spent running={running} known={totalTokens(usage) > 0}>
          {describeTokens(usage)}
        </Spent>
        <Cap value={budget.max_tokens} show={formatCount} />
      </Fact>
      <Fact name="Cost">
        <Spent running={running} known={usage.cost_usd > 0}>
          <strong>{formatUsd(usage.cost_usd)}</strong>
        </Spent>
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

interface SpentProps {
  running: boolean
  known: boolean
  children: ReactNode
}

/** Workers report what they used when an attempt ends: until then it is unknown, which is not zero. */
function Spent({ running, known, children }: SpentProps) {
  if (!running) return children
  if (!known) return <span className="faint">known when the attempt ends</span>
  return (
    <>
      {children} <span className="faint">before this attempt</span>
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
