import { Badge, Button, Group, Skeleton, Table, Text } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { keysKey, keysQuery, revokeKey } from '../api/access'
import type { VirtualKey } from '../api/types'
import { Empty } from '../components/Empty'
import { ErrorNotice } from '../components/ErrorNotice'
import { Panel } from '../components/Panel'
import { Time } from '../components/Time'
import { formatCount, formatUsd } from '../format/numbers'
import { CreateKey } from './CreateKey'

/** The tenant's virtual keys: made and revoked here. */
export function Keys() {
  const keys = useQuery(keysQuery)
  return (
    <Panel title="Keys" aside={<CreateKey />}>
      {keys.error && (
        <ErrorNotice title="The keys cannot be read" error={keys.error} onRetry={() => void keys.refetch()} />
      )}
      {keys.isPending && <Skeleton height={120} />}
      {keys.data?.length === 0 && (
        <Empty title="No virtual keys" command="sophia keys create NAME">
          Give each program a key of its own, with just the rights it needs.
        </Empty>
      )}
      {keys.data && keys.data.length > 0 && <KeyTable keys={keys.data} />}
    </Panel>
  )
}

function KeyTable({ keys }: { keys: VirtualKey[] }) {
  return (
    <Table.ScrollContainer minWidth={640}>
      <Table>
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Name</Table.Th>
            <Table.Th>Key</Table.Th>
            <Table.Th>May</Table.Th>
            <Table.Th>Made</Table.Th>
            <Table.Th />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {keys.map((key) => (
            <KeyRow key={key.id} held={key} />
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}

function KeyRow({ held }: { held: VirtualKey }) {
  const client = useQueryClient()
  const revoke = useMutation({
    mutationFn: () => revokeKey(held.id),
    onSuccess: (after) =>
      client.setQueryData<VirtualKey[]>(keysKey, (known) =>
        known?.map((key) => (key.id === after.id ? after : key)),
      ),
  })
  return (
    <Table.Tr>
      <Table.Td>{held.name}</Table.Td>
      <Table.Td>
        <Text size="xs" ff="monospace">
          {held.prefix}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="xs">{rulesOf(held)}</Text>
        {revoke.error && <ErrorNotice title="It could not be revoked" error={revoke.error} />}
      </Table.Td>
      <Table.Td>
        <Time at={held.created_at} />
      </Table.Td>
      <Table.Td>
        <Group justify="flex-end">
          {held.revoked_at !== null ? (
            <Badge color="gray">revoked</Badge>
          ) : (
            <Button
              size="compact-xs"
              variant="default"
              loading={revoke.isPending}
              onClick={() => revoke.mutate()}
              aria-label={`Revoke ${held.name}`}
            >
              Revoke
            </Button>
          )}
        </Group>
      </Table.Td>
    </Table.Tr>
  )
}

function rulesOf(key: VirtualKey): string {
  const rules = [key.scopes.join(', '), key.models.length > 0 ? key.models.join(', ') : 'all models']
  if (key.requests_per_minute !== null) rules.push(`${formatCount(key.requests_per_minute)} requests/min`)
  if (key.tokens_per_minute !== null) rules.push(`${formatCount(key.tokens_per_minute)} tokens/min`)
  const { usd_per_day: day, usd_per_month: month } = key.budget
  if (day !== null && day !== undefined) rules.push(`${formatUsd(day)} a day`)
  if (month !== null && month !== undefined) rules.push(`${formatUsd(month)} a month`)
  return rules.join(' · ')
}
