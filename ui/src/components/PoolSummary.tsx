import { Group, Text } from '@mantine/core'
import type { Pool } from '../api/types'
import { formatKnown, formatUsd } from '../format/numbers'
import { InstanceChip } from './InstanceChip'

/** Terminated instances stay listed for a while; on the overview the last one is enough. */
const GONE_SHOWN = 1

/** A pool in three lines: how many are wanted and why, and what is there. */
export function PoolSummary({ pool }: { pool: Pool }) {
  const present = pool.instances.filter((instance) => instance.state !== 'terminated')
  const gone = pool.instances
    .filter((instance) => instance.state === 'terminated')
    .sort((a, b) => Date.parse(b.requested_at) - Date.parse(a.requested_at))
    .slice(0, GONE_SHOWN)
  return (
    <article aria-label={`Pool ${pool.name}`}>
      <Group justify="space-between" gap="xs" wrap="nowrap">
        <Text fw={600}>{pool.name}</Text>
        <PoolCapacity pool={pool} />
      </Group>
      <Text size="xs" c="dimmed" mb={6}>
        {pool.reason}
      </Text>
      <Group gap={6}>
        {[...present, ...gone].map((instance) => (
          <InstanceChip key={instance.id} instance={instance} />
        ))}
        {present.length === 0 && gone.length === 0 && (
          <Text size="xs" c="dimmed">
            No instances
          </Text>
        )}
      </Group>
    </article>
  )
}

export function PoolCapacity({ pool }: { pool: Pool }) {
  return (
    <Text size="xs" c="dimmed" className="numbers">
      <Text span inherit fw={650} c="var(--mantine-color-text)">
        {formatKnown(pool.desired)}
      </Text>{' '}
      wanted · {pool.min}–{pool.max}
      {pool.usd_per_hour > 0 && ` · ${formatUsd(pool.usd_per_hour)}/h`}
    </Text>
  )
}
