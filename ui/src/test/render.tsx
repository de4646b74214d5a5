import { MantineProvider } from '@mantine/core'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { createMemoryHistory } from '@tanstack/react-router'
import { render } from '@testing-library/react'
import type { ReactNode } from 'react'
import { App } from '../app/App'
import { makeRouter } from '../app/router'
import { theme } from '../app/theme'

export function testClient(): QueryClient {
  return new QueryClient({ defaultOptions: { queries: { retry: false, gcTime: Infinity } } })
}

/** One component with what it finds around it, except the router. */
export function renderPart(part: ReactNode, client = testClient()) {
  return render(
    <MantineProvider theme={theme} env="test">
      <QueryClientProvider client={client}>{part}</QueryClientProvider>
    </MantineProvider>,
  )
}

/** The whole page at an address. */
export function renderPage(path: string) {
  const router = makeRouter()
  router.update({ ...router.options, history: createMemoryHistory({ initialEntries: [path] }) })
  return { router, ...render(<App client={testClient()} router={router} />) }
}
