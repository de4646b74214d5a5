import {
  Button,
  Collapse,
  Group,
  Paper,
  SegmentedControl,
  SimpleGrid,
  Stack,
  Text,
  Title,
} from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { useId, useState, type ReactNode, type SubmitEvent } from 'react'
import { ApiError } from '../api/http'
import type { Priority, TaskType, Tier } from '../api/types'
import { ErrorNotice } from '../components/ErrorNotice'
import { TASK_TYPES, typeName } from '../format/names'
import { Field } from '../submit/Field'
import { BUDGET_FIELDS, RUN_FIELDS, TYPES, type FieldSpec } from '../submit/fields'
import { useSubmit } from '../submit/useSubmit'
import { EMPTY_DRAFT, findFaults, inputOf, toSubmission, type Draft, type Faults } from '../submit/values'

const PRIORITIES: readonly Priority[] = ['critical', 'high', 'normal', 'low']
const TIERS: readonly Tier[] = ['fast', 'balanced', 'quality']

export function SubmitPage() {
  const [draft, setDraft] = useState<Draft>(EMPTY_DRAFT)
  const [faults, setFaults] = useState<Faults>({})
  const [more, { toggle, open }] = useDisclosure(false)
  const submission = useSubmit()
  const { type } = draft

  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    const found = findFaults(draft)
    setFaults(found)
    if (Object.keys(found).length > 0) return
    submission.mutate(toSubmission(draft), {
      onError: (error) => {
        const refused = faultOf(error, type)
        setFaults(refused)
        if (Object.keys(refused).some((path) => isOption(type, path))) open()
      },
    })
  }
  const input = (scope: 'payload' | 'common') => (spec: FieldSpec) => {
    const values = (scope === 'payload' ? draft.payloads[type] : draft.common) ?? {}
    const change = (value: string) => {
      const next = { ...values, [spec.path]: value }
      setDraft(
        scope === 'payload'
          ? { ...draft, payloads: { ...draft.payloads, [type]: next } }
          : { ...draft, common: next },
      )
      setFaults((before) => ({ ...before, [spec.path]: undefined }))
    }
    return (
      <Field
        key={`${type} ${spec.path}`}
        spec={spec}
        value={values[spec.path] ?? ''}
        error={faults[spec.path]}
        onChange={change}
      />
    )
  }
  const unplaced = submission.error && Object.keys(faultOf(submission.error, type)).length === 0

  return (
    <Paper component="form" withBorder p="lg" maw={760} mx="auto" onSubmit={submit} noValidate>
      <Stack gap="md">
        <Title order={1}>New task</Title>
        <Choice
          label="Type"
          data={TASK_TYPES}
          nameOf={typeName}
          value={type}
          onChange={(value) => {
            setFaults({})
            submission.reset()
            setDraft({ ...draft, type: value })
          }}
          note={TYPES[type].about}
        />
        {TYPES[type].fields.map(input('payload'))}
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <Choice
            label="Priority"
            data={PRIORITIES}
            value={draft.priority}
            onChange={(priority) => setDraft({ ...draft, priority })}
          />
          <Choice
            label="Tier"
            data={TIERS}
            value={draft.tier}
            onChange={(tier) => setDraft({ ...draft, tier })}
          />
        </SimpleGrid>
        <Button variant="default" size="compact-sm" w="fit-content" onClick={toggle} aria-expanded={more}>
          {more ? 'Fewer options' : 'Budget and more options'}
        </Button>
        <Collapse expanded={more}>
          <Stack gap="md">
            <SimpleGrid cols={{ base: 1, sm: 3 }}>{BUDGET_FIELDS.map(input('common'))}</SimpleGrid>
            <SimpleGrid cols={{ base: 1, sm: 3 }}>
              {TYPES[type].options.map(input('payload'))}
              {RUN_FIELDS.map(input('common'))}
            </SimpleGrid>
          </Stack>
        </Collapse>
        {unplaced && <ErrorNotice title="The task was not accepted" error={submission.error} />}
        <Group justify="flex-end">
          <Button type="submit" loading={submission.isPending}>
            Submit
          </Button>
        </Group>
      </Stack>
    </Paper>
  )
}

/** The refused input with the server's words; nothing when the form has no such input. */
function faultOf(error: Error, type: TaskType): Faults {
  if (!(error instanceof ApiError)) return {}
  const { field, detail, mend } = error.problem
  const path = field === undefined || field === null ? null : inputOf(type, field)
  if (path === null) return {}
  return { [path]: mend === undefined || mend === null ? detail : `${detail} ${mend}` }
}

function isOption(type: TaskType, path: string): boolean {
  return [...TYPES[type].options, ...BUDGET_FIELDS, ...RUN_FIELDS].some((spec) => spec.path === path)
}

interface ChoiceProps<T extends string> {
  label: string
  data: readonly T[]
  nameOf?: (value: T) => string
  value: T
  onChange: (value: T) => void
  note?: ReactNode
}

function Choice<T extends string>({ label, data, nameOf = String, value, onChange, note }: ChoiceProps<T>) {
  const id = useId()
  return (
    <div role="group" aria-labelledby={id}>
      <Text size="sm" fw={600} mb={4} id={id}>
        {label}
      </Text>
      <SegmentedControl
        fullWidth
        size="xs"
        data={data.map((one) => ({ value: one, label: nameOf(one) }))}
        value={value}
        onChange={onChange}
        aria-labelledby={id}
      />
      {note !== undefined && (
        <Text size="sm" c="dimmed" mt={6}>
          {note}
        </Text>
      )}
    </div>
  )
}
