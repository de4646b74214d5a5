import { Group, Paper, Skeleton, Stack, Table, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { poolsQuery } from '../api/pools'
import type { Instance, Pool, PoolsView } from '../api/types'
import { Empty } from '../components/Empty'
import { ErrorNotice } from '../components/ErrorNotice'
import { InstanceChip } from '../components/InstanceChip'
import { PoolCapacity } from '../components/PoolSummary'
import { Time } from '../components/Time'
import { formatKnown, formatUsd } from '../format/numbers'
import { streamName } from '../format/names'
import { formatDuration } from '../format/time'
import classes from './pools.module.css'

export function PoolsPage() {
  const pools = useQuery(poolsQuery)
  return (
    <Stack gap="md">
      <Group justify="space-between" align="baseline">
        <Title order={1}>Pools</Title>
        <Text size="sm" c="dimmed">
          {pools.data && <LastLook at={pools.data.at} />}
        </Text>
      </Group>
      {pools.error && (
        <ErrorNotice
          title="The pools cannot be read"
          error={pools.error}
          onRetry={() => void pools.refetch()}
        />
      )}
      {pools.isPending && <Skeleton height={320} />}
      {pools.data && <PoolList view={pools.data} />}
    </Stack>
  )
}

function LastLook({ at }: { at: PoolsView['at'] }) {
  if (at === null) return 'The pool manager has not looked yet'
  return (
    <>
      The pool manager looked <Time at={at} />
    </>
  )
}

function PoolList({ view }: { view: PoolsView }) {
  if (view.pools.length === 0) {
    return <Empty title="No pools">Pools are listed in sophia.yaml under “pools”.</Empty>
  }
  return view.pools.map((pool) => <PoolCard key={pool.name} pool={pool} />)
}

function PoolCard({ pool }: { pool: Pool }) {
  const instances = [...pool.instances].sort(
    (a, b) => Date.parse(b.requested_at) - Date.parse(a.requested_at),
  )
  return (
    <Paper component="section" withBorder p="md" aria-label={`Pool ${pool.name}`}>
      <Group justify="space-between" gap="xs">
        <Group gap="xs" align="baseline">
          <Title order={2}>{pool.name}</Title>
          <Text size="xs" c="dimmed">
            {pool.provider} · serves {pool.streams.map(streamName).join(', ') || 'no stream'}
          </Text>
        </Group>
        <PoolCapacity pool={pool} />
      </Group>
      <Text size="sm" mt={4}>
        {pool.reason}
      </Text>
      <Text size="xs" c="dimmed" mt={2} mb="xs">
        {formatKnown(pool.waiting)} waiting, {formatKnown(pool.running)} running ·{' '}
        {pool.idle_timeout_s === null
          ? 'instances stay when idle'
          : `an instance goes after ${formatDuration(pool.idle_timeout_s)} without work`}
      </Text>
      <PoolCost pool={pool} />
      {instances.length === 0 ? (
        <Text size="sm" c="dimmed">
          {pool.max === 0
            ? 'Switched off: it may have no instances.'
            : 'No instances: one starts when work for this pool waits.'}
        </Text>
      ) : (
        <InstanceTable instances={instances} name={pool.name} />
      )}
    </Paper>
  )
}

/** Nothing for pools that never cost anything. */
function PoolCost({ pool }: { pool: Pool }) {
  if (pool.usd_per_hour === 0 && pool.spent_usd_month === 0 && !pool.cordoned) return null
  return (
    <Text size="sm" mb="xs" className="numbers" aria-label={`Cost of ${pool.name}`}>
      <Text span inherit fw={650}>
        {formatUsd(pool.usd_per_hour)}/h
      </Text>{' '}
      now · {formatUsd(pool.spent_usd_today)}
      {pool.max_usd_per_day !== null && ` of ${formatUsd(pool.max_usd_per_day)}`} today ·{' '}
      {formatUsd(pool.spent_usd_month)}
      {pool.max_usd_per_month !== null && ` of ${formatUsd(pool.max_usd_per_month)}`} this month
      {pool.cordoned && ' · cordoned: nothing is launched'}
    </Text>
  )
}

function InstanceTable({ instances, name }: { instances: Instance[]; name: string }) {
  return (
    <Table.ScrollContainer minWidth={760} type="native">
      <Table className={classes['instances'] ?? ''} aria-label={`Instances of ${name}`}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>State</Table.Th>
            <Table.Th>Reason</Table.Th>
            <Table.Th>Machine</Table.Th>
            <Table.Th>Busy</Table.Th>
            <Table.Th>Price</Table.Th>
            <Table.Th>Cost</Table.Th>
            <Table.Th>Requested</Table.Th>
            <Table.Th>Ready</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {instances.map((instance) => (
            <Table.Tr key={instance.id}>
              <Table.Td>
                <InstanceChip instance={instance} />
              </Table.Td>
              <Table.Td className={classes['reason']}>{instance.reason}</Table.Td>
              <Table.Td title={instance.id}>
                {[instance.instance_type, instance.region].filter(Boolean).join(' · ') || '–'}
              </Table.Td>
              <Table.Td className="numbers">
                {instance.state === 'terminated' ? '–' : `${formatKnown(instance.busy)} of ${instance.slots}`}
              </Table.Td>
              <Table.Td className="numbers">{formatUsd(instance.price_usd_per_hour)}/h</Table.Td>
              <Table.Td className="numbers">{formatUsd(instance.cost_usd)}</Table.Td>
              <Table.Td>
                <Time at={instance.requested_at} />
              </Table.Td>
              <Table.Td>{instance.ready_at === null ? '–' : <Time at={instance.ready_at} />}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}
