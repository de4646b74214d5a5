import { Alert, Button, Code, Group, Modal, NumberInput, Stack, TextInput } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { createKey, keysKey } from '../api/access'
import { Copy } from '../components/Copy'
import { ErrorNotice } from '../components/ErrorNotice'

/** Makes a key and shows its text, this once. */
export function CreateKey() {
  const client = useQueryClient()
  const [opened, dialog] = useDisclosure(false)
  const [name, setName] = useState('')
  const [usdPerDay, setUsdPerDay] = useState<number | string>('')
  const create = useMutation({
    mutationFn: () =>
      createKey({
        name: name.trim(),
        budget: typeof usdPerDay === 'number' ? { usd_per_day: usdPerDay } : {},
      }),
    onSuccess: () => client.invalidateQueries({ queryKey: keysKey }),
  })
  const close = () => {
    dialog.close()
    create.reset()
    setName('')
    setUsdPerDay('')
  }
  return (
    <>
      <Button size="xs" variant="default" onClick={dialog.open}>
        New key
      </Button>
      <Modal opened={opened} onClose={close} title="New key" centered>
        {create.data ? (
          <Stack gap="md">
            <Alert color="yellow" variant="light" title="Keep it now: it is shown this once">
              <Group gap="xs" wrap="nowrap">
                <Code style={{ overflowWrap: 'anywhere' }}>{create.data.key}</Code>
                <Copy value={create.data.key} what="the key" />
              </Group>
            </Alert>
            <Group justify="flex-end">
              <Button onClick={close}>Done</Button>
            </Group>
          </Stack>
        ) : (
          <form
            onSubmit={(event) => {
              event.preventDefault()
              create.mutate()
            }}
          >
            <Stack gap="md">
              <TextInput
                label="What it is for"
                required
                maxLength={100}
                value={name}
                onChange={(event) => setName(event.currentTarget.value)}
              />
              <NumberInput
                label="Budget, USD a day"
                description="Empty: only the tenant’s"
                min={0}
                value={usdPerDay}
                onChange={setUsdPerDay}
              />
              {create.error && <ErrorNotice title="It could not be made" error={create.error} />}
              <Group justify="flex-end" gap="xs">
                <Button variant="default" onClick={close}>
                  Cancel
                </Button>
                <Button type="submit" loading={create.isPending} disabled={name.trim() === ''}>
                  Make it
                </Button>
              </Group>
            </Stack>
          </form>
        )}
      </Modal>
    </>
  )
}
