import { Alert, Button, Group, Text } from '@mantine/core'
import { ApiError } from '../api/http'

interface Props {
  error: Error
  title: string
  onRetry?: () => void
}

/** What went wrong, what would help, and a way to try again. */
export function ErrorNotice({ error, title, onRetry }: Props) {
  const mend = error instanceof ApiError ? error.problem.mend : undefined
  return (
    <Alert color="red" variant="light" title={title} role="alert">
      <Group justify="space-between" align="flex-end" gap="md">
        <div>
          <Text size="sm">{error.message}</Text>
          {mend !== undefined && mend !== null && <Text size="sm">{mend}</Text>}
        </div>
        {onRetry && (
          <Button size="xs" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
      </Group>
    </Alert>
  )
}
