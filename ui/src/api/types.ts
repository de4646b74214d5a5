/** Names for the shapes that the gateway's OpenAPI document defines. */
import type { components } from './schema'

type Schemas = components['schemas']

export type TaskState = Schemas['TaskState']
export type Tier = Schemas['Tier']
export type Target = Schemas['Target']
export type Submission = Schemas['Submission']
export type Priority = NonNullable<Submission['priority']>
export type Budget = Schemas['Budget']
export type Accepted = Schemas['Accepted']
export type TaskSummary = Schemas['TaskSummary']
export type TaskView = Schemas['TaskView']
export type TaskList = Schemas['TaskList']
export type Attempt = Schemas['AttemptView']
export type AttemptOutcome = Schemas['AttemptOutcome']
export type Usage = Schemas['UsageView']
export type Route = Schemas['RouteView']
export type TaskError = Schemas['ErrorView']
export type Explanation = Schemas['Explanation']
export type QueueView = Schemas['QueueView']
export type StreamView = Schemas['StreamView']
export type BudgetsView = Schemas['BudgetsView']
export type TenantBudget = Schemas['BudgetView']
export type PoolsView = Schemas['PoolsView']
export type Pool = Schemas['PoolView']
export type Instance = Schemas['InstanceView']
export type InstanceState = Instance['state']
export type VirtualKey = Schemas['KeyView']
export type NewKey = Schemas['KeyCreated']
export type KeyRequest = Schemas['KeyRequest']
export type UsageReport = Schemas['UsageReport']
export type CallLine = Schemas['CallLine']
export type EventView = Schemas['EventView']
export type Problem = Schemas['Problem']
export type PageConfig = Schemas['ClientConfig']

/** What each task type takes. */
export interface Payloads {
  long_planning: Schemas['LongPlanning']
  code_generation: Schemas['CodeGeneration']
  batch_embedding: Schemas['BatchEmbedding']
  web_research: Schemas['WebResearch']
  light: Schemas['Light']
}

/** What each task type gives. */
export interface Results {
  long_planning: Schemas['Plan']
  code_generation: Schemas['GeneratedCode']
  batch_embedding: Schemas['Embeddings']
  web_research: Schemas['ResearchAnswer']
  light: Schemas['LightAnswer']
}

export type TaskType = keyof Payloads
