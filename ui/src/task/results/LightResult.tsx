import { Text } from '@mantine/core'
import type { Results } from '../../api/types'

export function LightResult({ result }: { result: Results['light'] }) {
  return (
    <>
      <Text className="prose">{result.text}</Text>
      <Text size="xs" c="dimmed" mt="sm">
        Written by {result.model}
        {result.finish_reason === 'length' && ' · cut at its token limit'}
      </Text>
    </>
  )
}
