import { Alert, Button, Grid, Group, Progress, Skeleton, Stack, Text, Title } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { ApiError } from '../api/http'
import { isFinal, taskQuery } from '../api/tasks'
import type { TaskView } from '../api/types'
import { Copy } from '../components/Copy'
import { Empty } from '../components/Empty'
import { ErrorNotice } from '../components/ErrorNotice'
import { BackIcon } from '../components/icons'
import { LinkButton } from '../components/LinkButton'
import { Panel } from '../components/Panel'
import { StateBadge } from '../components/StateBadge'
import { formatCount } from '../format/numbers'
import { Attempts } from '../task/Attempts'
import { CancelButton } from '../task/CancelButton'
import { Facts } from '../task/Facts'
import { Json } from '../task/Json'
import type { TaskLog } from '../task/log'
import { OutputPane } from '../task/OutputPane'
import { Request } from '../task/Request'
import { Result } from '../task/results'
import { useTaskLog } from '../task/useTaskLog'
import { Waiting } from '../task/Waiting'

export function TaskPage() {
  const { id } = useParams({ from: '/tasks/$id' })
  const task = useQuery(taskQuery(id))
  return (
    <Stack gap="md">
      <Link to="/" className="back-link">
        <BackIcon /> All tasks
      </Link>
      {task.data && <TaskDetail key={id} task={task.data} />}
      {task.isPending && <Skeleton height={420} />}
      {task.error && <Unreadable error={task.error} id={id} onRetry={() => void task.refetch()} />}
    </Stack>
  )
}

function Unreadable({ error, id, onRetry }: { error: Error; id: string; onRetry: () => void }) {
  if (error instanceof ApiError && error.status === 404) {
    return (
      <Stack align="center">
        <Empty title="There is no such task" command={`sophia task ${id}`}>
          The address may be cut, or the task has been removed from the ledger after its retention time.
        </Empty>
        <LinkButton to="/" variant="default">
          All tasks
        </LinkButton>
      </Stack>
    )
  }
  return <ErrorNotice title="The task cannot be read" error={error} onRetry={onRetry} />
}

function TaskDetail({ task }: { task: TaskView }) {
  const over = isFinal(task.state)
  const { log, trouble } = useTaskLog(task.id, over)
  const [raw, { toggle }] = useDisclosure(false)
  return (
    <>
      <Group justify="space-between" align="flex-start" wrap="nowrap" gap="md">
        <div style={{ minWidth: 0 }}>
          <Title order={1} lineClamp={2}>
            {task.title || task.id}
          </Title>
          <Group gap="xs" mt={6}>
            <span data-testid="task-state">
              <StateBadge state={task.state} />
            </span>
            <Text size="xs" c="dimmed" ff="monospace">
              {task.id}
            </Text>
            <Copy value={task.id} what="id" />
          </Group>
        </div>
        <Group gap="xs" wrap="nowrap">
          <Button size="xs" variant="default" aria-pressed={raw} onClick={toggle}>
            JSON
          </Button>
          {!over && <CancelButton task={task} />}
        </Group>
      </Group>
      {raw ? (
        <Json value={task} label="Task as JSON" />
      ) : (
        <TaskBody task={task} log={log} trouble={trouble} />
      )}
    </>
  )
}

interface BodyProps {
  task: TaskView
  log: TaskLog
  trouble: Error | null
}

function TaskBody({ task, log, trouble }: BodyProps) {
  const over = isFinal(task.state)
  const output = <Output task={task} log={log} trouble={trouble} />
  const waits = task.state === 'queued' || task.state === 'scheduled' || task.state === 'retrying'
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, md: 8 }}>
        <Stack gap="md">
          {waits && <Waiting id={task.id} />}
          {task.error && (
            <Alert
              color="red"
              variant="light"
              title={task.state === 'retrying' ? 'The last attempt failed' : 'It failed'}
            >
              <Text size="sm" c="var(--mantine-color-text)">
                {task.error.message} <span className="faint">({task.error.code})</span>
              </Text>
            </Alert>
          )}
          {task.state === 'succeeded' && (
            <Panel title="Result">
              <Result task={task} />
            </Panel>
          )}
          {!over && output}
          <Panel title="Attempts">
            <Attempts attempts={task.attempts} />
          </Panel>
          {over && output}
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 4 }}>
        <Stack gap="md">
          <Panel title="Task">
            <Facts task={task} />
          </Panel>
          <Panel title="Request">
            <Request payload={task.payload} />
          </Panel>
        </Stack>
      </Grid.Col>
    </Grid>
  )
}

/** What the running attempt says, and after the end what it said. */
function Output({ task, log, trouble }: BodyProps) {
  const running = task.state === 'running'
  if (!running && log.text === '') return null
  return (
    <Panel
      title="Output"
      aside={
        log.attempt > 1 && (
          <Text size="xs" c="dimmed">
            attempt {log.attempt}
          </Text>
        )
      }
    >
      <Stack gap="sm">
        {running && log.progress && <ProgressLine progress={log.progress} />}
        {running && log.text === '' && !log.progress && (
          <Text size="sm" c="dimmed">
            Running; nothing to show yet.
          </Text>
        )}
        {log.text !== '' && <OutputPane text={log.text} label="Output" />}
        {log.incomplete && (
          <Text size="xs" c="dimmed">
            Part of the text (…) was not kept.
          </Text>
        )}
        {running && trouble && (
          <Text size="xs" c="dimmed" role="status">
            The output is interrupted and will go on from here: {trouble.message}
          </Text>
        )}
      </Stack>
    </Panel>
  )
}

function ProgressLine({ progress }: { progress: NonNullable<TaskLog['progress']> }) {
  const { done, total, note } = progress
  const percent = total > 0 ? (done / total) * 100 : 0
  return (
    <div>
      <Group justify="space-between" mb={4}>
        <Text size="sm">{note || 'Working'}</Text>
        <Text size="sm" c="dimmed" className="numbers">
          {formatCount(done)} of {formatCount(total)}
        </Text>
      </Group>
      <Progress value={percent} aria-label={`Progress: ${done} of ${total}`} />
    </div>
  )
}
