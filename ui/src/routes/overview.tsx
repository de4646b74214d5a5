import { Grid, Group, Select, SimpleGrid, Skeleton, Stack, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { budgetsQuery } from '../api/budgets'
import { poolsQuery } from '../api/pools'
import { queueQuery } from '../api/queue'
import { tasksQuery } from '../api/tasks'
import type { Pool } from '../api/types'
import type { OverviewSearch } from '../app/router'
import { BudgetMeter } from '../components/BudgetMeter'
import { Empty } from '../components/Empty'
import { ErrorNotice } from '../components/ErrorNotice'
import { LinkButton } from '../components/LinkButton'
import { Panel } from '../components/Panel'
import { PoolSummary } from '../components/PoolSummary'
import { QueueMatrix } from '../components/QueueMatrix'
import { QueueTotals } from '../components/QueueTotals'
import { TaskTable } from '../components/TaskTable'
import { TASK_STATES, TASK_TYPES, typeName } from '../format/names'

const TYPE_OPTIONS = TASK_TYPES.map((type) => ({ value: type, label: typeName(type) }))

export function OverviewPage() {
  return (
    <Stack gap="md">
      <h1 className="visually-hidden">Tasks</h1>
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 6, lg: 7 }}>
          <QueuePanel />
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 6, lg: 5 }}>
          <PoolsPanel />
        </Grid.Col>
      </Grid>
      <BudgetsPanel />
      <TasksPanel />
    </Stack>
  )
}

function QueuePanel() {
  const queue = useQuery(queueQuery)
  return (
    <Panel title="Queue">
      {queue.data ? (
        <Stack gap="sm">
          <QueueTotals queue={queue.data} />
          <QueueMatrix queue={queue.data} />
        </Stack>
      ) : queue.error ? (
        <ErrorNotice
          title="The queue cannot be read"
          error={queue.error}
          onRetry={() => void queue.refetch()}
        />
      ) : (
        <Skeleton height={190} />
      )}
    </Panel>
  )
}

function PoolsPanel() {
  const pools = useQuery(poolsQuery)
  const all = (
    <Link to="/pools" className="quiet-link">
      Details
    </Link>
  )
  return (
    <Panel title="Pools" aside={all}>
      {pools.data ? (
        <Stack gap="sm">
          {pools.data.pools.filter(isOn).map((pool) => (
            <PoolSummary key={pool.name} pool={pool} />
          ))}
          <SwitchedOff pools={pools.data.pools.filter((pool) => !isOn(pool))} />
          {pools.data.pools.length === 0 && (
            <Empty title="No pools yet">
              {pools.data.at === null
                ? 'The pool manager has not looked yet; this takes a few seconds after the start.'
                : 'Pools are listed in sophia.yaml under “pools”.'}
            </Empty>
          )}
        </Stack>
      ) : pools.error ? (
        <ErrorNotice
          title="The pools cannot be read"
          error={pools.error}
          onRetry={() => void pools.refetch()}
        />
      ) : (
        <Skeleton height={190} />
      )}
    </Panel>
  )
}

function isOn(pool: Pool): boolean {
  return pool.max > 0 || pool.instances.length > 0
}

function SwitchedOff({ pools }: { pools: Pool[] }) {
  if (pools.length === 0) return null
  return (
    <Text size="xs" c="dimmed">
      Switched off (at most 0 instances): {pools.map((pool) => pool.name).join(', ')}
    </Text>
  )
}

/** One line where there is no budget, as on most people's own machines. */
function BudgetsPanel() {
  const budgets = useQuery(budgetsQuery)
  if (budgets.data?.budgets.length === 0) {
    return (
      <Text size="xs" c="dimmed">
        No budget caps what your tasks spend in a day or month.
      </Text>
    )
  }
  if (budgets.data === undefined && budgets.error === null) return null
  return (
    <Panel title="Budgets">
      {budgets.data ? (
        <Stack gap="sm">
          {budgets.data.rebuilding && (
            <Text size="sm">
              The queue is new or was lost: what was spent is being read from the ledger, and no task is
              accepted until then.
            </Text>
          )}
          <SimpleGrid cols={{ base: 1, sm: 2, lg: 4 }} spacing="lg">
            {budgets.data.budgets.map((budget) => (
              <BudgetMeter key={budget.name} budget={budget} />
            ))}
          </SimpleGrid>
        </Stack>
      ) : (
        <ErrorNotice
          title="The budgets cannot be read"
          error={budgets.error}
          onRetry={() => void budgets.refetch()}
        />
      )}
    </Panel>
  )
}

function TasksPanel() {
  const search = useSearch({ from: '/' })
  const tasks = useQuery(tasksQuery(search))
  // A row that has just left the filtered state stays in the cache until the next fetch.
  const rows = tasks.data?.tasks.filter((task) => search.state === undefined || task.state === search.state)
  return (
    <Panel title="Tasks" aside={<Filters search={search} />}>
      {tasks.error && (
        <ErrorNotice
          title="The tasks cannot be read"
          error={tasks.error}
          onRetry={() => void tasks.refetch()}
        />
      )}
      {rows === undefined && !tasks.error && <Skeleton height={320} />}
      {rows?.length === 0 && <NoTasks search={search} />}
      {rows !== undefined && rows.length > 0 && <TaskTable tasks={rows} />}
      <Pager search={search} next={tasks.data?.next_cursor ?? null} />
    </Panel>
  )
}

function NoTasks({ search }: { search: OverviewSearch }) {
  if (search.state !== undefined || search.type !== undefined) {
    return <Empty title="No task matches">Choose other filters to see more.</Empty>
  }
  if (search.cursor !== undefined) return <Empty title="No older tasks" />
  return (
    <Empty title="No tasks yet" command={'sophia submit long_planning "Plan a small conference" --watch'}>
      Submit one with “New task”, or from a terminal; it appears here by itself.
    </Empty>
  )
}

function Filters({ search }: { search: OverviewSearch }) {
  const navigate = useNavigate()
  // Another filter starts at the newest task again: a cursor belongs to its filter.
  const go = (next: OverviewSearch) => void navigate({ to: '/', search: next, replace: true })
  const { state, type } = search
  return (
    <Group gap="xs" wrap="nowrap">
      <Select
        size="xs"
        w={128}
        aria-label="State"
        placeholder="All states"
        clearable
        data={TASK_STATES}
        value={state ?? null}
        onChange={(value) => go({ ...(value !== null && { state: value }), ...(type && { type }) })}
      />
      <Select
        size="xs"
        w={128}
        aria-label="Type"
        placeholder="All types"
        clearable
        data={TYPE_OPTIONS}
        value={type ?? null}
        onChange={(value) => go({ ...(state && { state }), ...(value !== null && { type: value }) })}
      />
    </Group>
  )
}

function Pager({ search, next }: { search: OverviewSearch; next: string | null }) {
  const { cursor, ...filters } = search
  if (cursor === undefined && next === null) return null
  return (
    <Group justify="space-between" mt="sm">
      {cursor === undefined ? (
        <span />
      ) : (
        <LinkButton to="/" search={filters} variant="default" size="xs">
          Newest
        </LinkButton>
      )}
      {next !== null && (
        <LinkButton to="/" search={{ ...filters, cursor: next }} variant="default" size="xs">
          Older
        </LinkButton>
      )}
    </Group>
  )
}
