import { Group, Progress, Text } from '@mantine/core'
import type { TenantBudget } from '../api/types'
import { formatCompact, formatUsd } from '../format/numbers'
import { Time } from './Time'

const NAMES: Record<TenantBudget['name'], string> = {
  usd_per_day: 'Dollars today',
  usd_per_month: 'Dollars this month',
  tokens_per_day: 'Tokens today',
  tokens_per_month: 'Tokens this month',
}

/** One cap: what is left of it, and where the rest went. */
export function BudgetMeter({ budget }: { budget: TenantBudget }) {
  const format = budget.unit === 'usd' ? formatUsd : formatCompact
  const amount = (value: number | null) => (value === null ? '?' : format(value))
  const name = NAMES[budget.name]
  return (
    <article aria-label={name}>
      <Group justify="space-between" gap="xs" wrap="nowrap" align="baseline">
        <Text size="sm" fw={600}>
          {name}
        </Text>
        <Text size="xs" c="dimmed" className="numbers">
          <Text
            span
            inherit
            fw={650}
            c={budget.left === 0 ? 'var(--mantine-color-error)' : 'var(--mantine-color-text)'}
          >
            {amount(budget.left)}
          </Text>{' '}
          left of {format(budget.cap)}
        </Text>
      </Group>
      <Progress.Root size="sm" my={5} aria-hidden>
        <Progress.Section value={share(budget.spent, budget.cap)} color="indigo" />
        <Progress.Section value={share(budget.reserved, budget.cap)} color="indigo.3" />
      </Progress.Root>
      <Text size="xs" c="dimmed" className="numbers">
        {amount(budget.spent)} spent · {amount(budget.reserved)} reserved · resets{' '}
        <Time at={budget.resets_at} />
      </Text>
    </article>
  )
}

/** Percent; unknown shows as nothing. */
function share(part: number | null, cap: number): number {
  return part === null || cap === 0 ? 0 : Math.min(100, (part / cap) * 100)
}
