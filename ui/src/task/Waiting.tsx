import { Alert, List, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { explainQuery } from '../api/tasks'
import { Time } from '../components/Time'

/** Positions change with every other task's end, which is no event of this one. */
const REFRESH_MS = 4_000

/** Why a task waits, when it may start, and what would change that. */
export function Waiting({ id }: { id: string }) {
  const { data } = useQuery({ ...explainQuery(id), refetchInterval: REFRESH_MS })
  if (data === undefined) return null
  return (
    <Alert variant="light" color="blue" title="Why it waits" c="var(--mantine-color-text)">
      <Text size="sm">{data.summary}</Text>
      <Text size="sm" mt={4}>
        {data.expected_start_at === null ? (
          `Expected start ${data.basis}`
        ) : (
          <>
            Expected to start <Time at={data.expected_start_at} />{' '}
            <span className="faint">({data.basis})</span>
          </>
        )}
      </Text>
      {data.would_help.length > 0 && (
        <List size="sm" mt={4}>
          {data.would_help.map((help) => (
            <List.Item key={help}>{help}</List.Item>
          ))}
        </List>
      )}
    </Alert>
  )
}
