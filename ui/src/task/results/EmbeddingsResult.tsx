import { Code, Group, Text } from '@mantine/core'
import type { Results } from '../../api/types'
import { formatCount, plural } from '../../format/numbers'

const NUMBERS_SHOWN = 6

/** The size of the vectors and the beginning of the first one. */
export function EmbeddingsResult({ result }: { result: Results['batch_embedding'] }) {
  return (
    <>
      <Group align="baseline" gap="xs">
        <Text fz={22} fw={650} className="numbers">
          {formatCount(result.count)} × {formatCount(result.dimensions)}
        </Text>
        <Text c="dimmed">vectors × dimensions</Text>
      </Group>
      <Text size="sm" mt={4}>
        {plural(result.tokens, 'token')} embedded by {result.model}
        {result.truncated > 0 && `; ${plural(result.truncated, 'text')} cut at the model’s length`}
      </Text>
      <Text size="sm" c="dimmed" mt={4}>
        First vector: <Code>{beginning(result.vectors[0])}</Code>
      </Text>
    </>
  )
}

function beginning(vector: unknown): string {
  if (typeof vector === 'string') return `${vector.slice(0, 32)}…`
  if (!Array.isArray(vector)) return '–'
  const numbers: unknown[] = vector.slice(0, NUMBERS_SHOWN)
  return `[${numbers.map((value) => (typeof value === 'number' ? value.toFixed(4) : '?')).join(', ')}, …]`
}
