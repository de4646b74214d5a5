import { Group, Text } from '@mantine/core'
import type { QueueView } from '../api/types'
import { formatKnown } from '../format/numbers'

/** How many tasks are in each state that is not over. */
export function QueueTotals({ queue }: { queue: QueueView }) {
  return (
    <Group component="dl" gap="md" m={0} aria-label="Tasks by state">
      <Total name="waiting" value={queue.waiting} />
      <Total name="running" value={queue.running} />
      <Total name="scheduled" value={queue.delayed} />
      <Total name="retrying" value={queue.retrying} />
      <Total name="dead" value={queue.dead} />
    </Group>
  )
}

function Total({ name, value }: { name: string; value: number | null }) {
  const quiet = value === 0
  return (
    <Group gap={5} align="baseline">
      <Text component="dt" size="xs" c="dimmed" style={{ order: 1 }}>
        {name}
      </Text>
      <Text
        component="dd"
        m={0}
        className="numbers"
        fw={quiet ? 400 : 650}
        c={quiet ? 'dimmed' : 'var(--mantine-color-text)'}
      >
        {formatKnown(value)}
      </Text>
    </Group>
  )
}
