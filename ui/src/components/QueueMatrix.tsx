import { Table, Text } from '@mantine/core'
import type { Priority, QueueView, StreamView } from '../api/types'
import { formatKnown } from '../format/numbers'
import { streamName } from '../format/names'
import { formatDuration } from '../format/time'
import classes from './QueueMatrix.module.css'

const PRIORITIES: readonly Priority[] = ['critical', 'high', 'normal', 'low']

/** What waits and runs, by stream and priority. The bar compares a cell with the fullest one. */
export function QueueMatrix({ queue }: { queue: QueueView }) {
  const streams = [...new Set(queue.streams.map((cell) => cell.stream))]
  const fullest = Math.max(1, ...queue.streams.map((cell) => cell.waiting ?? 0))
  return (
    <Table.ScrollContainer minWidth={420} type="native">
      <Table className={classes['matrix'] ?? ''} aria-label="Tasks waiting, by stream and priority">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Stream</Table.Th>
            {PRIORITIES.map((priority) => (
              <Table.Th key={priority}>{priority}</Table.Th>
            ))}
            <Table.Th>running</Table.Th>
            <Table.Th>oldest</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {streams.map((stream) => (
            <StreamRow
              key={stream}
              stream={stream}
              cells={queue.streams.filter((cell) => cell.stream === stream)}
              fullest={fullest}
            />
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}

function StreamRow({ stream, cells, fullest }: { stream: string; cells: StreamView[]; fullest: number }) {
  const running = sum(cells.map((cell) => cell.running))
  const ages = cells.map((cell) => cell.oldest_age_s).filter((age) => age !== null)
  return (
    <Table.Tr>
      <Table.Th scope="row">{streamName(stream)}</Table.Th>
      {PRIORITIES.map((priority) => (
        <Depth key={priority} cell={cells.find((cell) => cell.priority === priority)} fullest={fullest} />
      ))}
      <Table.Td className={running === 0 ? classes['zero'] : classes['running']}>
        {formatKnown(running)}
      </Table.Td>
      <Table.Td className={classes['zero']}>
        {ages.length > 0 ? formatDuration(Math.floor(Math.max(...ages))) : '–'}
      </Table.Td>
    </Table.Tr>
  )
}

function Depth({ cell, fullest }: { cell: StreamView | undefined; fullest: number }) {
  if (cell === undefined) return <Table.Td className={classes['zero']}>–</Table.Td>
  const { waiting } = cell
  return (
    <Table.Td
      className={waiting === 0 ? classes['zero'] : classes['depth']}
      title={describe(cell)}
      style={{ '--fill': `${((waiting ?? 0) / fullest) * 100}%` }}
    >
      {waiting === null ? (
        <Text span c="dimmed">
          ?
        </Text>
      ) : (
        formatKnown(waiting)
      )}
    </Table.Td>
  )
}

function describe(cell: StreamView): string {
  const parts = [
    `${formatKnown(cell.waiting)} waiting`,
    `${formatKnown(cell.running)} running`,
    `${formatKnown(cell.delayed)} scheduled for later`,
    `${formatKnown(cell.retrying)} retrying`,
  ]
  return `${streamName(cell.stream)}, ${cell.priority}: ${parts.join(', ')}`
}

/** The sum, or `null` when a part is unknown. */
function sum(values: (number | null)[]): number | null {
  return values.reduce<number | null>(
    (total, value) => (total === null || value === null ? null : total + value),
    0,
  )
}
