import { Stack } from '@mantine/core'
import { useRouter, type ErrorComponentProps } from '@tanstack/react-router'
import { Empty } from '../components/Empty'
import { ErrorNotice } from '../components/ErrorNotice'
import { LinkButton } from '../components/LinkButton'

export function NotFoundPage() {
  return (
    <Stack align="center">
      <Empty title="There is no such page" />
      <LinkButton to="/" variant="default">
        All tasks
      </LinkButton>
    </Stack>
  )
}

export function CrashPage({ error, reset }: ErrorComponentProps) {
  const router = useRouter()
  const retry = () => {
    reset()
    void router.invalidate()
  }
  return (
    <ErrorNotice
      title="This page has failed"
      error={error instanceof Error ? error : new Error(String(error))}
      onRetry={retry}
    />
  )
}
