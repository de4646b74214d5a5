import { Table, Text } from '@mantine/core'
import { Fragment } from 'react'
import type { Attempt } from '../api/types'
import { StateBadge } from '../components/StateBadge'
import { Elapsed, Time } from '../components/Time'
import { formatCompact, formatUsd } from '../format/numbers'
import { describeTokens, totalTokens } from './tokens'
import classes from './Attempts.module.css'

/** Every execution of a task: where, how it ended, what it took. */
export function Attempts({ attempts }: { attempts: Attempt[] }) {
  if (attempts.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        No worker has started it yet.
      </Text>
    )
  }
  return (
    <Table.ScrollContainer minWidth={620} type="native">
      <Table className={classes['attempts'] ?? ''} aria-label="Attempts">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>#</Table.Th>
            <Table.Th>Outcome</Table.Th>
            <Table.Th>Pool</Table.Th>
            <Table.Th>Worker</Table.Th>
            <Table.Th>Started</Table.Th>
            <Table.Th>Took</Table.Th>
            <Table.Th>Tokens</Table.Th>
            <Table.Th>Cost</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {attempts.map((attempt) => (
            <AttemptRow key={attempt.number} attempt={attempt} />
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}

function AttemptRow({ attempt }: { attempt: Attempt }) {
  // Workers report what they used when an attempt ends.
  const known = attempt.ended_at !== null
  return (
    <Fragment>
      <Table.Tr data-attempt={attempt.number} className={attempt.error ? classes['joined'] : undefined}>
        <Table.Td>{attempt.number}</Table.Td>
        <Table.Td>
          <StateBadge state={attempt.outcome} />
        </Table.Td>
        <Table.Td>{attempt.pool}</Table.Td>
        <Table.Td className={classes['worker']} title={attempt.worker}>
          {attempt.worker}
        </Table.Td>
        <Table.Td>
          <Time at={attempt.started_at} />
        </Table.Td>
        <Table.Td>
          <Elapsed from={attempt.started_at} to={attempt.ended_at} />
        </Table.Td>
        <Table.Td title={known ? describeTokens(attempt.usage) : ''}>
          {known ? formatCompact(totalTokens(attempt.usage)) : '–'}
        </Table.Td>
        <Table.Td>{known ? formatUsd(attempt.usage.cost_usd) : '–'}</Table.Td>
      </Table.Tr>
      {attempt.error && (
        <Table.Tr>
          <Table.Td />
          <Table.Td colSpan={7} className={classes['error']}>
            {attempt.error.message} <span className="faint">({attempt.error.code})</span>
          </Table.Td>
        </Table.Tr>
      )}
    </Fragment>
  )
}
