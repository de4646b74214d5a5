import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import type { TaskState, TaskType } from '../api/types'
import { TASK_STATES, TASK_TYPES } from '../format/names'
import { Shell } from './Shell'
import { CrashPage, NotFoundPage } from './Fallbacks'

export interface OverviewSearch {
  state?: TaskState
  type?: TaskType
  cursor?: string
}

/** Drops what is not valid: an address that somebody has changed by hand still opens. */
function overviewSearch(search: Record<string, unknown>): OverviewSearch {
  const state = TASK_STATES.find((known) => known === search['state'])
  const type = TASK_TYPES.find((known) => known === search['type'])
  const cursor = search['cursor']
  return {
    ...(state && { state }),
    ...(type && { type }),
    ...(typeof cursor === 'string' && { cursor }),
  }
}

const root = createRootRoute({ component: Shell, notFoundComponent: NotFoundPage, errorComponent: CrashPage })

const overview = createRoute({
  getParentRoute: () => root,
  path: '/',
  validateSearch: overviewSearch,
  component: lazyRouteComponent(() => import('../routes/overview'), 'OverviewPage'),
})

const task = createRoute({
  getParentRoute: () => root,
  path: '/tasks/$id',
  component: lazyRouteComponent(() => import('../routes/task'), 'TaskPage'),
})

const submit = createRoute({
  getParentRoute: () => root,
  path: '/new',
  component: lazyRouteComponent(() => import('../routes/submit'), 'SubmitPage'),
})

const pools = createRoute({
  getParentRoute: () => root,
  path: '/pools',
  component: lazyRouteComponent(() => import('../routes/pools'), 'PoolsPage'),
})

const usage = createRoute({
  getParentRoute: () => root,
  path: '/usage',
  component: lazyRouteComponent(() => import('../routes/usage'), 'UsagePage'),
})

export function makeRouter() {
  return createRouter({
    routeTree: root.addChildren([overview, task, submit, pools, usage]),
    defaultPreload: 'intent',
    scrollRestoration: true,
  })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>
  }
}
