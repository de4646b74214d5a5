import { Button, Code, Modal, PasswordInput, Stack, Text } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState, type SubmitEvent } from 'react'
import { ApiError } from '../api/http'
import { checkKey } from '../api/queue'
import { setKey } from './key'
import { useKey } from './useKey'

/** Asks for the API key when there is none or the gateway refuses it. A key is tried before it is kept. */
export function KeyDialog() {
  const { key, refused } = useKey()
  return (
    <Modal
      opened={key === null || refused}
      onClose={() => undefined}
      withCloseButton={false}
      closeOnEscape={false}
      closeOnClickOutside={false}
      centered
      title="API key"
    >
      <KeyForm refused={refused} />
    </Modal>
  )
}

function KeyForm({ refused }: { refused: boolean }) {
  const client = useQueryClient()
  const [key, setInput] = useState('')
  const check = useMutation({
    mutationFn: checkKey,
    onSuccess: async (_, accepted) => {
      setKey(accepted)
      await client.resetQueries()
    },
  })
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    if (key.trim() !== '') check.mutate(key.trim())
  }
  return (
    <form onSubmit={submit}>
      <Stack gap="sm">
        <Text size="sm">
          {refused ? 'Sophia does not know the key that this page used. ' : ''}
          <Code>sophia up</Code> prints a link that opens this page with its key; the key alone works here
          too.
        </Text>
        <PasswordInput
          label="Key"
          data-autofocus
          autoComplete="current-password"
          value={key}
          onChange={(event) => setInput(event.currentTarget.value)}
          error={check.error && explain(check.error)}
        />
        <Button type="submit" loading={check.isPending} disabled={key.trim() === ''}>
          Open
        </Button>
      </Stack>
    </form>
  )
}

function explain(error: Error): string {
  return error instanceof ApiError && error.status === 401 ? 'Sophia does not know this key.' : error.message
}
