import { Group, Skeleton, Stack, Table, Text, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Keys } from '../access/Keys'
import { keysQuery, usageQuery } from '../api/access'
import type { CallLine, UsageReport } from '../api/types'
import { Empty } from '../components/Empty'
import { ErrorNotice } from '../components/ErrorNotice'
import { Panel } from '../components/Panel'
import { formatCompact, formatUsd, plural } from '../format/numbers'

/** What model calls used and cost, and the keys that make them. */
export function UsagePage() {
  const usage = useQuery(usageQuery)
  return (
    <Stack gap="md">
      <Group justify="space-between" align="baseline">
        <Title order={1}>Usage</Title>
        <Text size="sm" c="dimmed">
          {usage.data && `${usage.data.from_day} to ${usage.data.to_day}, UTC`}
        </Text>
      </Group>
      {usage.error && (
        <ErrorNotice title="Usage cannot be read" error={usage.error} onRetry={() => void usage.refetch()} />
      )}
      {usage.isPending && <Skeleton height={240} />}
      {usage.data && <Calls report={usage.data} />}
      <Keys />
    </Stack>
  )
}

function Calls({ report }: { report: UsageReport }) {
  const keys = useQuery(keysQuery)
  const names = new Map(keys.data?.map((key) => [key.id, key.name]))
  const { total } = report
  const saved = total.saved_usd > 0 ? ` · ${formatUsd(total.saved_usd)} saved by the cache` : ''
  return (
    <Panel
      title="Model calls"
      aside={
        <Text size="sm" c="dimmed">
          {plural(total.requests, 'call')} · {formatUsd(total.cost_usd)}
          {saved}
        </Text>
      }
    >
      {report.rows.length === 0 ? (
        <Empty title="No model calls">Point an OpenAI client at this address with /v1 behind it.</Empty>
      ) : (
        <Table.ScrollContainer minWidth={640}>
          <Table>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Key</Table.Th>
                <Table.Th>Model</Table.Th>
                <Table.Th>Provider</Table.Th>
                <Table.Th ta="right">Calls</Table.Th>
                <Table.Th ta="right">Tokens in</Table.Th>
                <Table.Th ta="right">Tokens out</Table.Th>
                <Table.Th ta="right">Cost</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {report.rows.map((row) => (
                <CallRow key={`${row.key} ${row.model} ${row.provider}`} row={row} names={names} />
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
    </Panel>
  )
}

function CallRow({ row, names }: { row: CallLine; names: Map<string, string> }) {
  const key = row.key ?? ''
  return (
    <Table.Tr>
      <Table.Td>{key === 'config' ? 'configured' : (names.get(key) ?? key)}</Table.Td>
      <Table.Td>{row.model}</Table.Td>
      <Table.Td>{row.provider}</Table.Td>
      <Table.Td ta="right">{formatCompact(row.requests)}</Table.Td>
      <Table.Td ta="right">{formatCompact(row.input_tokens + row.embedding_tokens)}</Table.Td>
      <Table.Td ta="right">{formatCompact(row.output_tokens)}</Table.Td>
      <Table.Td ta="right">{formatUsd(row.cost_usd)}</Table.Td>
    </Table.Tr>
  )
}
