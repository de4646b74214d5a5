import type { Results, TaskType, TaskView } from '../../api/types'
import { Json } from '../Json'
import { CodeResult } from './CodeResult'
import { EmbeddingsResult } from './EmbeddingsResult'
import { LightResult } from './LightResult'
import { PlanResult } from './PlanResult'
import { ResearchResult } from './ResearchResult'

/** A field that the result of a type must have to be shown in that type's way. */
const MARKS: { [T in TaskType]: keyof Results[T] } = {
  long_planning: 'steps',
  code_generation: 'code',
  batch_embedding: 'dimensions',
  web_research: 'sources',
  light: 'text',
}

/** A result in the way of its type; one of a type that this page does not know is shown as JSON. */
export function Result({ task }: { task: TaskView }) {
  const { result } = task
  if (is(task, 'long_planning', result)) return <PlanResult plan={result} />
  if (is(task, 'code_generation', result)) return <CodeResult result={result} />
  if (is(task, 'batch_embedding', result)) return <EmbeddingsResult result={result} />
  if (is(task, 'web_research', result)) return <ResearchResult result={result} />
  if (is(task, 'light', result)) return <LightResult result={result} />
  return <Json value={result} label="Result" />
}

function is<T extends TaskType>(task: TaskView, type: T, result: unknown): result is Results[T] {
  return task.type === type && typeof result === 'object' && result !== null && MARKS[type] in result
}
