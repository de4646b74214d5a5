import { Button, Group, Modal, Stack, Text } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { cancelTask, taskKeys } from '../api/tasks'
import type { TaskView } from '../api/types'
import { ErrorNotice } from '../components/ErrorNotice'

/** Cancels a task, after asking. */
export function CancelButton({ task }: { task: TaskView }) {
  const client = useQueryClient()
  const [opened, dialog] = useDisclosure(false)
  const cancel = useMutation({
    mutationFn: () => cancelTask(task.id),
    onSuccess: (after) => {
      client.setQueryData(taskKeys.one(task.id), after)
      dialog.close()
    },
  })
  if (task.cancel_requested) {
    return (
      <Button size="xs" variant="default" disabled>
        Cancelling…
      </Button>
    )
  }
  return (
    <>
      <Button size="xs" variant="default" onClick={dialog.open}>
        Cancel task
      </Button>
      <Modal opened={opened} onClose={dialog.close} title="Cancel this task?" centered>
        <Stack gap="md">
          <Text size="sm">
            {task.state === 'running'
              ? 'Its worker is asked to stop. What the task has used so far is still paid for.'
              : 'It is taken out of the queue and does not run.'}
          </Text>
          {cancel.error && <ErrorNotice title="It could not be cancelled" error={cancel.error} />}
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={dialog.close}>
              Keep it
            </Button>
            <Button color="red" loading={cancel.isPending} onClick={() => cancel.mutate()}>
              Cancel task
            </Button>
          </Group>
        </Stack>
      </Modal>
    </>
  )
}
