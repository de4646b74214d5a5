import { Table, Text } from '@mantine/core'
import { Link, useNavigate } from '@tanstack/react-router'
import { isFinal } from '../api/tasks'
import type { TaskSummary } from '../api/types'
import { formatUsd } from '../format/numbers'
import { shortId, streamName, typeName } from '../format/names'
import { StateBadge } from './StateBadge'
import classes from './TaskTable.module.css'
import { Time } from './Time'

/** The task list; a row opens its task. */
export function TaskTable({ tasks }: { tasks: TaskSummary[] }) {
  return (
    <Table.ScrollContainer minWidth={780} type="native">
      <Table className={classes['table'] ?? ''} highlightOnHover aria-label="Tasks">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Task</Table.Th>
            <Table.Th>State</Table.Th>
            <Table.Th>Type</Table.Th>
            <Table.Th>Route</Table.Th>
            <Table.Th>Priority</Table.Th>
            <Table.Th className={classes['number']}>Attempts</Table.Th>
            <Table.Th className={classes['number']}>Cost</Table.Th>
            <Table.Th className={classes['number']}>Submitted</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {tasks.map((task) => (
            <TaskRow key={task.id} task={task} />
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}

/** The link is what keyboards and screen readers use; the rest of the row is a larger target for the mouse. */
function TaskRow({ task }: { task: TaskSummary }) {
  const navigate = useNavigate()
  const open = () => void navigate({ to: '/tasks/$id', params: { id: task.id } })
  return (
    <Table.Tr className={classes['row'] ?? ''} onClick={open} data-task={task.id} data-state={task.state}>
      <Table.Td className={classes['title']}>
        <Link to="/tasks/$id" params={{ id: task.id }} className={classes['link']} title={task.title}>
          {task.title || shortId(task.id)}
        </Link>
        {task.error && (
          <Text size="xs" c="dimmed" truncate title={task.error.message}>
            {task.error.message}
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <StateBadge state={task.state} />
      </Table.Td>
      <Table.Td>{typeName(task.type)}</Table.Td>
      <Table.Td title={task.route.reason}>
        {streamName(task.route.stream)} <span className="faint">{task.route.target}</span>
      </Table.Td>
      <Table.Td className={task.priority === 'normal' ? 'faint' : ''}>{task.priority}</Table.Td>
      <Table.Td className={classes['number']}>{task.attempts}</Table.Td>
      <Table.Td className={classes['number']}>{cost(task)}</Table.Td>
      <Table.Td className={classes['number']}>
        <Time at={task.submitted_at} />
      </Table.Td>
    </Table.Tr>
  )
}

/** What an attempt costs is known when it has ended. */
function cost(task: TaskSummary): string {
  const { cost_usd } = task.usage
  return cost_usd === 0 && !isFinal(task.state) ? '–' : formatUsd(cost_usd)
}
