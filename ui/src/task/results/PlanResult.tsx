import { Text } from '@mantine/core'
import type { Results } from '../../api/types'
import classes from './results.module.css'

type Plan = Results['long_planning']

/** A plan as its steps in order, each with what it needs first. */
export function PlanResult({ plan }: { plan: Plan }) {
  return (
    <>
      <ol className={classes['steps']}>
        {plan.steps.map((step) => (
          <li key={step.id} id={`step-${step.id}`} className={classes['step']}>
            <span className={classes['number']} aria-hidden>
              {step.id}
            </span>
            <div>
              <Text fw={600}>{step.title}</Text>
              {step.description !== '' && (
                <Text size="sm" className="prose">
                  {step.description}
                </Text>
              )}
              {step.depends_on.length > 0 && <Needs ids={step.depends_on} />}
            </div>
          </li>
        ))}
      </ol>
      <Text size="xs" c="dimmed" mt="sm">
        Planned by {plan.model}
      </Text>
    </>
  )
}

function Needs({ ids }: { ids: number[] }) {
  return (
    <Text size="xs" c="dimmed" mt={2}>
      after step{' '}
      {ids.map((id, index) => (
        <span key={id}>
          {index > 0 && ', '}
          <a href={`#step-${id}`}>{id}</a>
        </span>
      ))}
    </Text>
  )
}
