import { MantineProvider } from '@mantine/core'
import { QueryClientProvider, type QueryClient } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { LiveProvider } from '../live/LiveProvider'
import type { makeRouter } from './router'
import { cssVariables, theme } from './theme'

interface Props {
  client: QueryClient
  router: ReturnType<typeof makeRouter>
}

export function App({ client, router }: Props) {
  return (
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
        <QueryClientProvider client={client}>
          <LiveProvider>
            <RouterProvider router={router} />
          </LiveProvider>
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>
  )
}
